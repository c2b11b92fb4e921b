"""What all figures share: size, labels, caption, saving and showing.

Figures are made without pyplot's global state: a function returns a `Figure`, and `show` puts it on the page once.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from brainssl_utils.files import atomic_path
from brainssl_utils.showing import picture


def new_figure(rows: int = 1, columns: int = 1, width: float = 3.2, height: float = 2.6) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, an array (rows, columns); `width` and `height` are those of one panel, in inches."""
    figure = Figure(figsize=(width * columns, height * rows))
    # Inches above and below a panel; with matplotlib's 0.04 titles of two lines are cut off.
    figure.set_layout_engine("constrained", h_pad=0.08)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def tidy(axes: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> Axes:
    """Label an axes and take its box away."""
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw_levels(axes: Axes, levels: Mapping[str, float] | None) -> None:
    """Draw a black horizontal line for each name -> y, dotted first, so that levels differ from each other and from lines."""
    for index, (name, level) in enumerate((levels or {}).items()):
        axes.axhline(level, color="black", ls=(":", "--", "-.")[index % 3], lw=1.3, label=name)


def image_panel(axes: Axes, image: Any, title: str = "", vmin: float | None = None, vmax: float | None = None) -> Axes:
    """Draw one grey image, (H, W) or (1, H, W), uint8 or float in 0..1, without ticks."""
    image = np.asarray(image).squeeze()
    top = (255 if image.dtype == np.uint8 else 1.0) if vmax is None else vmax
    axes.imshow(image, cmap="gray", vmin=0 if vmin is None else vmin, vmax=top)
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def image_grid(
    images: Any,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    row_labels: Sequence[str] | None = None,
    panel: float = 1.25,
) -> Figure:
    """Draw images, (N, 1, H, W) or (N, H, W), row by row, with a title over each and a label beside each row."""
    images = np.asarray(images)
    rows = -(-len(images) // columns)
    figure, axes = new_figure(rows, columns, panel, panel * (1.15 if titles else 1.0))
    for index, axis in enumerate(axes.flat):
        if index < len(images):
            image_panel(axis, images[index], titles[index] if titles else "")
        else:
            axis.set_visible(False)
    for axis, label in zip(axes[:, 0], row_labels or ()):
        axis.set_ylabel(label, fontsize=8)
    return figure


def show(figure: Figure, caption: str, run_dir: str | Path | None = None, name: str | None = None) -> None:
    """Put a figure on the page with a caption under it, and save it as `run_dir/figures/name.png` when both are given.

    The caption is also the picture's text for those who cannot see it. A figure that pyplot made is closed afterwards.
    """
    columns = max(24, int(figure.get_figwidth() * 15))
    text = "\n".join(textwrap.wrap(caption, columns))
    figure.supxlabel(text, fontsize=9, x=0.01, ha="left", color="#444444")
    if run_dir is not None and name is not None:
        with atomic_path(Path(run_dir) / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=120)
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display
    except ImportError:
        return
    if get_ipython() is not None:
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=96)
        display(HTML(picture(buffer.getvalue(), caption)))
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)
