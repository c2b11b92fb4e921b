"""The colours of the figures: of lines and bars by their place, of classes and methods by their name."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

# Okabe and Ito's eight colours, told apart with any common colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
GREY = "#8A8A8A"
CLASS_COLOURS = dict(zip(("glioma", "meningioma", "no_tumor", "pituitary"), PALETTE))
# Eight of matplotlib's tab20 and tab20b, those that lie farthest from the palette's and from each other (CIELAB).
_MORE = ("#8C6D31", "#2CA02C", "#843C39", "#FFBB78", "#B5CF6B", "#FF9896", "#9467BD", "#D62728")
# Yellow comes last: thin lines and small dots of it are hard to see on white.
COLOURS = (*PALETTE[:6], PALETTE[7], *_MORE, PALETTE[6])
_OTHER_CLASSES = tuple(colour for colour in COLOURS if colour not in CLASS_COLOURS.values())


def series_colour(place: int) -> str:
    """Return the colour of the line, bar or digit at a place, from 0: sixteen different ones, then from the start again."""
    return COLOURS[place % len(COLOURS)]


def class_colour(name: str, place: int) -> str:
    """Return the colour of a class: the course's four have their own, any other name has that of its place, from 0.

    No other name is given a colour of the four, so that a list may hold both. Twelve others differ from each other.
    """
    return CLASS_COLOURS.get(name) or _OTHER_CLASSES[place % len(_OTHER_CLASSES)]


def method_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name: a method's own, and for other names those that no method among them has."""
    from brainssl_utils.methods import method_colour  # loads torch, which no other figure needs

    own = {name: method_colour(name, "") for name in names}
    others = cycle(colour for colour in COLOURS if colour not in own.values())
    return {name: colour or next(others) for name, colour in own.items()}
