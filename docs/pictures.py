"""The site's two drawings as SVG: the way of one image, and the rooms of the package as its import contract orders them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

GROUND, INK, LINE = "#f6f8fa", "#1f2328", "#57606a"
FILLS = ("#dbeafe", "#dcfce7", "#fef3c7", "#fde2e2", "#ede9fe", "#e0f2f1")


def rooms(pyproject: Path) -> list[list[str]]:
    """Return the rooms of the package from the top floor down, as import-linter's first contract has them."""
    contract = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][0]
    return [layer.replace("|", ":").split(":") for layer in contract["layers"]]


def house(floors: Sequence[Sequence[str]]) -> str:
    """Draw floors of rooms (names with blanks around them allowed) above each other, and which way imports run."""
    width, floor = 620, 40
    parts = []
    for level, names in enumerate(floors):
        room = (width - 60) / len(names)
        parts += [
            _box(50 + place * room, 12 + level * (floor + 8), room - 8, floor, name.strip(), FILLS[level % len(FILLS)])
            for place, name in enumerate(names)
        ]
    bottom = 12 + len(floors) * (floor + 8) - 8
    parts.append(_arrow(26, 12, 26, bottom))
    parts.append(f'<text transform="translate(16 {bottom / 2:.0f}) rotate(-90)" text-anchor="middle">imports</text>')
    return _svg(width, bottom + 12, parts)


def data_flow() -> str:
    """Draw the way of one image from an archive to a figure."""
    steps = (
        ("archives, folders,", "phantoms"), ("Corpus", "pixels, table"), ("Split", "who trains, who tests"),
        ("views", "a batch at once"), ("method", "trains under Lightning"), ("record", "tables, figures"),
    )  # fmt: skip
    width, height, gap = 150, 64, 26
    parts = []
    for place, (name, detail) in enumerate(steps):
        left, top = 12 + place % 3 * (width + gap), 12 + place // 3 * (height + 40)
        parts.append(_box(left, top, width, height, name, FILLS[place], detail))
        if place % 3 < 2:
            parts.append(_arrow(left + width, top + height / 2, left + width + gap, top + height / 2))
    middle, right = 12 + height, 12 + 2 * (width + gap) + width / 2
    turn = f"M {right} {middle} V {middle + 20} H {12 + width / 2} V {middle + 38}"
    parts.append(f'<path d="{turn}" fill="none" stroke="{LINE}" stroke-width="1.5" marker-end="url(#tip)"/>')
    return _svg(3 * width + 2 * gap + 24, 2 * height + 64, parts)


def _box(left: float, top: float, width: float, height: float, name: str, fill: str, detail: str = "") -> str:
    middle, centre = left + width / 2, top + height / 2
    shape = f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height}" rx="6" fill="{fill}" stroke="{LINE}"/>'
    lines = [
        f'<text x="{middle:.1f}" y="{centre + (-4 if detail else 5):.1f}" text-anchor="middle">{escape(name)}</text>'
    ]
    if detail:
        lines.append(
            f'<text x="{middle:.1f}" y="{centre + 15:.1f}" text-anchor="middle" font-size="12">{escape(detail)}</text>'
        )
    return shape + "".join(lines)


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M {x1} {y1} L {x2} {y2}" stroke="{LINE}" stroke-width="1.5" marker-end="url(#tip)"/>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    tip = f'<path d="M 0 0 L 8 4 L 0 8 z" fill="{LINE}"/>'
    size = 'viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
    marker = f'<marker id="tip" {size} orient="auto">{tip}</marker>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="sans-serif" font-size="14" fill="{INK}"><defs>{marker}</defs>'
        f'<rect width="{width}" height="{height}" rx="8" fill="{GROUND}"/>{"".join(parts)}</svg>\n'
    )
