"""Every figure of the course. Functions return a `Figure`; `show` puts it on the page with its caption and saves it."""

from brainssl_utils.plots.base import image_grid, image_panel, new_figure, show, tidy
from brainssl_utils.plots.colours import CLASS_COLOURS, PALETTE, class_colour
from brainssl_utils.plots.comparison import acquaintance_panels, gap_curves, label_curve_plot, model_diagram, two_by_two
from brainssl_utils.plots.contrastive import (
    grouped_bars,
    line_plot,
    looking_sheet,
    maps_over_image,
    matrices,
    neighbour_grid,
    two_view_diagram,
)
from brainssl_utils.plots.data import (
    correlation_histogram,
    hash_steps,
    leakage_bars,
    overlap_map,
    picture_pairs,
    share_bars,
    size_panels,
    source_sheet,
    split_comparison,
    to_size,
)
from brainssl_utils.plots.masked import (
    class_boxes,
    error_maps,
    repair_sheet,
)
from brainssl_utils.plots.neighbours import counted_pairs, neighbour_sheet, queue_shares, support_circle
from brainssl_utils.plots.pairs import digit_map, distance_histograms, pair_costs, pair_sheet, twin_diagram
from brainssl_utils.plots.redundancy import (
    correlation_panels,
    reading_panels,
    step_curves,
    unit_histograms,
)
from brainssl_utils.plots.training import (
    compare_curves,
    confusion_matrices,
    embedding,
    health,
    interval_bars,
    training_curves,
)

__all__ = [
    "CLASS_COLOURS",
    "PALETTE",
    "acquaintance_panels",
    "class_boxes",
    "class_colour",
    "compare_curves",
    "confusion_matrices",
    "correlation_histogram",
    "correlation_panels",
    "counted_pairs",
    "digit_map",
    "distance_histograms",
    "embedding",
    "error_maps",
    "gap_curves",
    "grouped_bars",
    "hash_steps",
    "health",
    "image_grid",
    "image_panel",
    "interval_bars",
    "label_curve_plot",
    "leakage_bars",
    "line_plot",
    "looking_sheet",
    "maps_over_image",
    "matrices",
    "model_diagram",
    "neighbour_grid",
    "neighbour_sheet",
    "new_figure",
    "overlap_map",
    "pair_costs",
    "pair_sheet",
    "picture_pairs",
    "queue_shares",
    "reading_panels",
    "repair_sheet",
    "share_bars",
    "show",
    "size_panels",
    "source_sheet",
    "split_comparison",
    "step_curves",
    "support_circle",
    "tidy",
    "to_size",
    "training_curves",
    "twin_diagram",
    "two_by_two",
    "two_view_diagram",
    "unit_histograms",
]
