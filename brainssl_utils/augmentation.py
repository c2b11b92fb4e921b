"""What a method takes for its views: a preset's name, a recipe, or augmentation of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from brainssl_utils import own, validity
from brainssl_utils.checks import check_number
from brainssl_utils.errors import CourseError
from brainssl_utils.views import RECIPES, Recipe, Views, make_views, recipe_of


def views_of(setting: Any, size: int, what: str = "views") -> Views | OwnViews:
    """Return the views that a method's parameter asks for.

    Args:
        setting: a name of `RECIPES`, a `Recipe`, a function or class of a module, its path "package.module:name", or a
            `functools.partial` of it (see `OwnViews`); also what `.setting` of the views says, as a record keeps it.
        size: side of the views, pixels.
        what: the parameter, for messages.

    Raises:
        CourseError: there is no such preset, or code of the user's own cannot be used.
    """
    if isinstance(setting, Views | OwnViews) and setting.size == size:
        return setting
    if isinstance(setting, Views):
        return make_views(setting.recipe, size)
    if isinstance(setting, dict) and "path" not in setting:
        return make_views(recipe_of(setting), size)
    if isinstance(setting, Recipe) or (isinstance(setting, str) and setting in RECIPES):
        return make_views(setting, size)
    if setting is None or (isinstance(setting, str) and ":" not in setting):
        raise CourseError(
            f"unknown {what} {setting!r}. Choose one of: {', '.join(RECIPES)}; or give a Recipe, or a function of your own."
        )
    if isinstance(setting, dict):
        return OwnViews(own.Own(own.find(setting["path"], what), setting.get("arguments", {})), size, what)
    return OwnViews(own.take(setting, what), size, what)


class OwnViews:
    """Augmentation of the user's own at a size: `draw(images uint8 (B, 1, S, S), generator) -> float (B, 1, S, S)`.

    `draw` may take its random numbers from the generator or from torch's global one, which is set by the generator for the
    time of a call: a seed fixes them either way, and a resumed training draws what an uninterrupted one would have.

    Args:
        code: a function, or a class whose object is called; a key knows it by its path, its arguments and its source.
        size: side of the views, pixels.
        what: the parameter it was given for, for messages.

    Raises:
        CourseError: it cannot be found again by its path, its source cannot be read, or a trial on two images fails, gives
            something else than views, changes the images, or gives other views of the same generator.
    """

    def __init__(self, code: own.Own, size: int, what: str = "views") -> None:
        check_number("size", size, at_least=1, whole=True)
        if not own.can_be_found(code.target):
            raise CourseError(
                f"{what} is {code.path}, which cannot be imported from there, so that a saved run could never be read again: "
                "define the function at the top of a module or notebook, not as a lambda or inside another function."
            )
        source = own.source_of(code.target)
        if not source:
            raise CourseError(f"{what} is {code.path}, whose source cannot be read: define it in a file or a notebook.")
        self.size, self.what = size, what
        self.setting = {"path": code.path, "arguments": dict(code.arguments), "code": validity.code_key(source)}
        self.draw = self._made(code)
        self._try()

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return views, float32 (B, 1, size, size), of images (B, 1, size, size)."""
        with torch.random.fork_rng(devices=[]), torch.autocast(images.device.type, enabled=False):
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            views = self.draw(images, generator)
        expected = (len(images), 1, self.size, self.size)
        if not isinstance(views, Tensor) or views.shape != expected or not views.is_floating_point():
            got = f"{views.dtype} {tuple(views.shape)}" if isinstance(views, Tensor) else type(views).__name__
            raise CourseError(f"{self.what} ({self.setting['path']}) returned {got}: expected float {expected}.")
        return views.float()

    def describe(self) -> dict[str, object]:
        """Path, arguments and size as plain values, for a record."""
        return {"size": self.size, **self.setting}

    def _made(self, code: own.Own) -> Callable[[Tensor, torch.Generator | None], Tensor]:
        if not isinstance(code.target, type):
            return code.bound()
        try:
            return code.bound()()
        except Exception as error:  # the user's code may raise anything
            raise CourseError(f"{self.what} ({code.path}) cannot be built: {type(error).__name__}: {error}.") from error

    def _try(self) -> None:
        images = torch.arange(2 * self.size**2, dtype=torch.int64).remainder(256).to(torch.uint8)
        images = images.view(2, 1, self.size, self.size)
        before, where = images.clone(), f"{self.what} ({self.setting['path']})"
        try:
            one, other = (self(images, torch.Generator().manual_seed(0)) for _ in range(2))
        except CourseError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise CourseError(
                f"{where} fails on two images uint8 {tuple(images.shape)} and a generator: {type(error).__name__}: {error}."
            ) from error
        if not torch.equal(images, before):
            raise CourseError(f"{where} changes the images it is given: let it return new ones.")
        if not torch.equal(one, other):
            raise CourseError(
                f"{where} gives other views of the same generator, so that no seed would fix a training: draw from the "
                "generator, or from torch."
            )
