"""Code of the user's own, by where it is imported from: a record can name it, a key can tell it apart, a reload finds it."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from brainssl_utils import validity
from brainssl_utils.errors import CourseError


@dataclass(frozen=True)
class Own:
    """A function or class of a module, and the keyword arguments it is called with.

    Attributes:
        target: the function or class.
        arguments: plain values by name.
    """

    target: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """ "package.module:Name"."""
        return path_of(self.target)

    def bound(self) -> Callable[..., Any]:
        """The function with its arguments, or the class with its arguments, ready to be built."""
        return functools.partial(self.target, **self.arguments)


def path_of(target: Any) -> str:
    """Return "package.module:Name" of a function or class, whether or not it can be found there."""
    return f"{target.__module__}:{target.__qualname__}"


def can_be_found(target: Any) -> bool:
    """Whether importing its path gives this very object: not so for lambdas and for what is defined inside a function."""
    try:
        return find(path_of(target), "it") is target
    except (AttributeError, CourseError):
        return False


def find(path: str, what: str) -> Any:
    """Import what "package.module:Name" names.

    Args:
        path: where it is.
        what: what it is for, for the message.

    Raises:
        CourseError: there is no such module, or it has no such name; the message says which.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise CourseError(f"{what} is {path!r}: expected 'package.module:Name'.")
    try:
        # A notebook's or script's own names are found as long as it runs.
        found = sys.modules.get(module_name) or importlib.import_module(module_name)
    except Exception as error:  # a module's first lines may raise anything
        raise CourseError(
            f"{what} {path} cannot be imported: module {module_name}: {error}. Install it, or start where it can be found."
        ) from error
    try:
        return functools.reduce(getattr, name.split("."), found)
    except AttributeError as error:
        where = "this notebook or script" if module_name == "__main__" else f"module {module_name}"
        raise CourseError(
            f"{what} {path} cannot be imported: {where} has no {name}. Define it at the top of a module, not inside a "
            "function, and let that module be importable."
        ) from error


def take(thing: Any, what: str) -> Own:
    """Take a path, a function, a class, or a `functools.partial` of one with keyword arguments.

    Raises:
        CourseError: it is something else (an object of a class, say), a path leads nowhere, or an argument is no plain value.
    """
    if isinstance(thing, str):
        thing = find(thing, what)
    arguments: dict[str, Any] = {}
    if isinstance(thing, functools.partial):
        if thing.args:
            raise CourseError(f"{what} is a partial with arguments that have no name: give them by keyword.")
        thing, arguments = thing.func, dict(thing.keywords)
    if not inspect.isroutine(thing) and not inspect.isclass(thing):
        raise CourseError(
            f"{what} is an object of class {type(thing).__name__}, and how it was made cannot be told from it: give the "
            f"class, or functools.partial({type(thing).__name__}, ...) with its arguments by keyword."
        )
    try:
        validity.digest(arguments)
    except TypeError as error:
        raise CourseError(f"{what}: its arguments must be numbers, text and lists of them ({error}).") from error
    return Own(thing, arguments)


def source_of(target: Any) -> str:
    """Return the source of a function or class; "" where it cannot be read (typed at a prompt, compiled)."""
    try:
        return inspect.getsource(target)
    except (OSError, TypeError):
        # Notebooks keep the source of functions, but not, before Python 3.13, that of classes.
        methods = (
            [part for part in vars(target).values() if inspect.isfunction(part)] if inspect.isclass(target) else []
        )
        return "\n".join(filter(None, map(source_of, methods)))
