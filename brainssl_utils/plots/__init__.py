"""Every figure of the course. Functions return a `Figure`; `show` puts it on the page with its caption and saves it."""

from brainssl_utils.plots.base import (
    CLASS_COLOURS,
    METHOD_COLOURS,
    PALETTE,
    image_grid,
    image_panel,
    new_figure,
    show,
    tidy,
)
from brainssl_utils.plots.contrastive import (
    grouped_bars,
    line_plot,
    maps_over_image,
    matrices,
    neighbour_grid,
    two_view_diagram,
)
from brainssl_utils.plots.training import (
    compare_curves,
    confusion_matrices,
    embedding,
    interval_bars,
    training_curves,
)

__all__ = [
    "CLASS_COLOURS",
    "METHOD_COLOURS",
    "PALETTE",
    "compare_curves",
    "confusion_matrices",
    "embedding",
    "grouped_bars",
    "image_grid",
    "image_panel",
    "interval_bars",
    "line_plot",
    "maps_over_image",
    "matrices",
    "neighbour_grid",
    "new_figure",
    "show",
    "tidy",
    "training_curves",
    "two_view_diagram",
]
