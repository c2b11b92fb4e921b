"""Every figure of `plots`, drawn on a few made-up numbers: its words, its panels, and that it shows the numbers given.

A case is a function named after the figure it draws. It compares what is drawn with what was given; the words it must
hold stand in its decorator. A figure that has no case fails the first test.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from brainssl_utils import plots
from brainssl_utils.data.copies.linking import links_table
from brainssl_utils.data.corpus import Copies, Corpus
from brainssl_utils.plots.colours import COLOURS
from brainssl_utils.results.health import make_bands

BLUE, ORANGE, ORANGE_RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#8A8A8A"
CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")


@dataclass(frozen=True)
class Case:
    """A figure to draw and the words it must hold, panel by panel from the upper left; empty labels are left out."""

    draw: Callable[[], Figure]
    panels: int
    images: int = 0
    titles: Sequence[str] = ()
    xlabels: Sequence[str] = ()
    ylabels: Sequence[str] = ()
    legend: Sequence[str] = ()
    colour_bars: Sequence[str] = ()
    texts: Sequence[str] = ()


CASES: dict[str, Case] = {}


def case(**expected: Any) -> Callable[[Callable[[], Figure]], Callable[[], Figure]]:
    def register(draw: Callable[[], Figure]) -> Callable[[], Figure]:
        CASES[draw.__name__] = Case(draw, **expected)
        return draw

    return register


# Reading a figure


def panels(figure: Figure) -> list[Axes]:
    """The visible axes, insets after the axes they lie in, without colour bars."""
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    return [one for axes in shown for one in (axes, *axes.child_axes)]


def given(words: Iterator[str]) -> list[str]:
    return [word for word in words if word]


def legend(figure: Figure) -> list[str]:
    boxes = [box for axes in panels(figure) if (box := axes.get_legend())]
    return [text.get_text() for box in boxes for text in box.get_texts()]


def line(axes: Axes, label: str) -> Any:
    [found] = [one for one in axes.get_lines() if one.get_label() == label]
    return found


def drawn(axes: Axes, label: str) -> list[float]:
    return [round(float(value), 6) for value in line(axes, label).get_ydata()]


def level(axes: Axes, label: str) -> float:
    [value] = {float(value) for value in line(axes, label).get_ydata()}
    return value


def heights(bars: Any) -> list[float]:
    return [round(float(bar.get_height()), 6) for bar in bars]


def picture(axes: Axes, place: int = 0) -> np.ndarray:
    return np.asarray(axes.images[place].get_array())


def ticks(axes: Axes, axis: str = "x") -> list[str]:
    return [text.get_text() for text in getattr(axes, f"get_{axis}ticklabels")()]


def points(axes: Axes, place: int = 0) -> np.ndarray:
    return np.asarray(axes.collections[place].get_offsets())


def frame(axes: Axes) -> tuple[str, str]:
    spine = axes.spines["left"]
    return to_hex(spine.get_edgecolor()).upper(), str(spine.get_linestyle())


# What the figures are given


def scans(n: int, side: int = 8) -> np.ndarray:
    """Float images (n, 1, side, side) in 0..1, no two alike."""
    return np.random.default_rng(n).random((n, 1, side, side)).astype(np.float32)


def bytes_of(images: np.ndarray) -> np.ndarray:
    return (255 * images).astype(np.uint8)


def history(shift: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "c_loss": [3.0, 2.5, 2.0 + shift],
            "p_loss": [1.4, 1.2, 1.0],
            "c_acc": [0.1, 0.5, 0.8 - shift],
            "r_acc": [0.02, 0.03, 0.05],
            "p_acc": [0.3, 0.6, 0.9],
            "val_p_acc": [0.25, 0.4, 0.5 - shift],
        }
    )


def corpus() -> Any:
    """Two sources of four images, two of them of one class; the second source has no pituitary."""
    table = pd.DataFrame(
        {
            "source": ["figshare"] * 4 + ["kaggle_four_classes"] * 4,
            "class_name": [*CLASSES, "glioma", "meningioma", "no_tumor", "no_tumor"],
            "width": [512, 512, 512, 512, 200, 300, 300, 640],
            "height": [512, 512, 512, 512, 210, 300, 300, 480],
        }
    )
    return as_corpus(bytes_of(scans(8)), table, CLASSES)


def as_corpus(images: Any, table: pd.DataFrame, classes: Sequence[str]) -> Corpus:
    """A corpus of a table with class names, "" for images without a class; no image has a copy."""
    numbers = {name: number for number, name in enumerate(classes)}
    table = table.assign(label=[numbers.get(name, -1) for name in table["class_name"]])
    marks = pd.DataFrame({"phash": "", "group": np.arange(len(table))})
    return Corpus(images, table, pd.DataFrame(), "f", "tests", Copies(marks, links_table()), tuple(classes))


def results(**columns: Sequence[Any]) -> pd.DataFrame:
    """Accuracies with intervals 0.1 to either side."""
    table = pd.DataFrame(columns)
    return table.assign(lo=table["accuracy"] - 0.1, hi=table["accuracy"] + 0.1)


# The figures of base and training


@case(panels=5, images=5, titles=("a", "b", "c", "d", "e"), ylabels=("first", "second"))
def image_grid() -> Figure:
    images = scans(5)
    figure = plots.image_grid(images, "abcde", columns=3, row_labels=["first", "second"])
    for axes, image in zip(panels(figure), images):
        assert np.array_equal(picture(axes), image[0]) and axes.images[0].get_clim() == (0, 1)
    assert len(figure.axes) == 6  # the sixth is hidden
    return figure


@case(
    panels=2,
    titles=("SimCLR", "SimCLR"),
    xlabels=("epoch", "epoch"),
    ylabels=("accuracy (%)", "loss"),
    legend=(
        "c_acc: contrastive", "r_acc: correlation", "p_acc: labelled training images", "val_p_acc: test images",
        "pretext loss", "classification loss",
    ),
)  # fmt: skip
def training_curves() -> Figure:
    figure = plots.training_curves(history(), "SimCLR")
    left, right = figure.axes
    assert drawn(left, "val_p_acc: test images") == [25, 40, 50]
    assert drawn(right, "pretext loss") == [3, 2.5, 2]
    assert list(line(left, "c_acc: contrastive").get_xdata()) == [1, 2, 3]
    assert left.get_ylim() == (0, 102)
    loss_of = {"c_acc: contrastive": "pretext loss", "p_acc: labelled training images": "classification loss"}
    for accuracy, loss in loss_of.items():  # one colour for what belongs together
        assert line(left, accuracy).get_color() == line(right, loss).get_color()
    return figure


@case(
    panels=2,
    titles=("contrastive accuracy", "test accuracy"),
    xlabels=("epoch", "epoch"),
    ylabels=("accuracy (%)", "accuracy (%)"),
    legend=("SimCLR", "a new idea", "SimCLR", "a new idea"),
)
def compare_curves() -> Figure:
    both = {"simclr": history(), "a new idea": history(0.1)}
    figure = plots.compare_curves(
        both, ["c_acc", "val_p_acc"], "accuracy (%)", ["contrastive accuracy", "test accuracy"]
    )
    accuracy, test = figure.axes
    [loss] = plots.compare_curves(both, ["c_loss"], "loss", ["pretext loss"]).axes
    assert drawn(accuracy, "SimCLR") == [10, 50, 80] and drawn(accuracy, "a new idea") == [10, 50, 70]
    assert drawn(test, "a new idea") == [25, 40, 40] and drawn(loss, "a new idea") == [3, 2.5, 2.1]
    assert line(accuracy, "SimCLR").get_color() != line(accuracy, "a new idea").get_color()
    return figure


@case(
    panels=2,
    images=2,
    titles=("SimCLR", "NNCLR"),
    xlabels=("predicted", "predicted"),
    ylabels=("true", "true"),
    texts=["8", "2", "0", "0", "1", "9", "0", "0", "0", "0", "10", "0", "0", "0", "5", "5"] + ["0"] * 16,
)
def confusion_matrices() -> Figure:
    counts = [[8, 2, 0, 0], [1, 9, 0, 0], [0, 0, 10, 0], [0, 0, 5, 5]]
    reports = {"SimCLR": {"confusion": counts}, "NNCLR": {"confusion": np.zeros((4, 4), int)}}
    figure = plots.confusion_matrices(reports, CLASSES)
    assert picture(figure.axes[0])[0].tolist() == [0.8, 0.2, 0, 0]
    assert not picture(figure.axes[1]).any()  # a class without images is no division by zero
    assert ticks(figure.axes[0]) == ticks(figure.axes[0], "y") == list(CLASSES)
    return figure


@case(
    panels=2,
    titles=("before: random weights", "after: SimCLR"),
    xlabels=("first coordinate",) * 2,
    ylabels=("second coordinate",) * 2,
    legend=CLASSES,
)
def embedding() -> Figure:
    xy, labels = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 4
    figure = plots.embedding({"before: random weights": xy, "after: SimCLR": -xy}, labels, CLASSES)
    for index, name in enumerate(CLASSES):
        assert np.allclose(points(figure.axes[1], index), -xy[labels == index])
        assert to_hex(figure.axes[0].collections[index].get_facecolor()[0][:3]).upper() == plots.CLASS_COLOURS[name]
    return figure


def health_record() -> dict[str, Any]:
    rows = [
        {"epoch": epoch, "c_loss": 5.0 - epoch, "chance_loss": 4.8, "knn_acc": 0.3 + 0.1 * epoch, "feature_rank": 20.0 - epoch,
         "feature_deviation": 0.4, "alignment": 0.2 - 0.01 * epoch, "uniformity": -0.8}
        for epoch in range(3)
    ]  # fmt: skip
    return {
        "method": "simclr", "protocol": "fair", "tag": "", "split": "patient", "profile": "quick", "seed": 0,
        "data": {"name": "phantoms"}, "config": {"n_classes": 4}, "history": rows,
        "sizes": {"image_size": 48, "epochs": 3, "steps_per_epoch": 30, "batch_size": 125},
    }  # fmt: skip


@case(
    panels=8,
    titles=(
        "loss",
        "kNN accuracy",
        "effective rank of the features",
        "deviation of the features (even: 1)",
        "alignment (0: views alike)",
        "uniformity (lower: more even)",
        "dead features (share)",
    ),
    xlabels=("epoch",) * 7,
    legend=("band", "knows nothing", "band", "guessing"),
    texts=(
        "not in this record",
        "band: where 19 of 20 further\nruns are expected, by seeds 0,\n1, 2 (profile quick, split\npatient, cpu, float32)",
    ),
)
def health() -> Figure:
    mine = health_record()
    runs = [mine | {"seed": seed} for seed in range(3)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "health.csv"
        make_bands(runs).assign(low=lambda table: table["high"] - 0.1).to_csv(path, index=False)
        figure = plots.health(mine, path)
        bare = plots.health(mine, Path(folder) / "none.csv")
    loss, neighbours, rank = figure.axes[:3]
    assert level(loss, "knows nothing") == 4.8 and level(neighbours, "guessing") == 0.25
    assert list(rank.get_lines()[0].get_xdata()) == [1, 2, 3] and list(rank.get_lines()[0].get_ydata()) == [20, 19, 18]
    assert all(len(axes.collections) == 1 for axes in figure.axes[:6])
    assert not any(axes.collections for axes in bare.axes)
    assert "No band is kept" in bare.axes[-1].texts[0].get_text()
    return figure


@case(panels=1, xlabels=("test accuracy (%)",))
def interval_bars() -> Figure:
    index = ["SimCLR fair, linear", "random, paper's encoder, linear"]
    table = pd.DataFrame({"accuracy": [70, 40], "low": [60, 30], "high": [80, 50]}, index=index)
    figure = plots.interval_bars(table, "accuracy", "low", "high", "test accuracy (%)", reference=25)
    [axes] = figure.axes
    values, reference = axes.get_lines()
    assert list(values.get_xdata()) == [70, 40] and list(values.get_ydata()) == [1, 0]
    assert [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()] == [[60, 80], [30, 50]]
    assert set(reference.get_xdata()) == {25}
    assert dict(zip(axes.get_yticks(), ticks(axes, "y"))) == {1: index[0], 0: index[1]}
    return figure


# comparison


@case(
    panels=1,
    texts=(
        "unlabelled and\nlabelled images,\ntwo views each", "labelled images,\none view",
        "encoder\n3 x [2 conv + pool]", "projection head\n256-128-64", "classifier\n256-128-4", "NT-Xent\n(eq. 1)",
        "cross-entropy\n(eq. 5)", "gradient reaches the encoder",
    ),
)  # fmt: skip
def model_diagram() -> Figure:
    figure = plots.model_diagram(joint=True)
    boxes, arrows = figure.axes[0].patches[:7], figure.axes[0].patches[7:]
    assert len(boxes) == len(arrows) == 7
    back = arrows[-1]  # the way back of the gradient has its note's colour
    assert to_hex(back.get_edgecolor()) == to_hex(figure.axes[0].texts[-1].get_color()) == ORANGE_RED.lower()
    stopped = plots.model_diagram(joint=False).axes[0]
    assert stopped.texts[-1].get_text() == "gradient stopped here" and stopped.patches[-1].get_linestyle() == ":"
    return figure


@case(
    panels=2,
    titles=("as published", "grouped"),
    xlabels=("epoch", "epoch"),
    ylabels=("accuracy (%)",) * 2,
    legend=("p_acc: images it trains on", "val_p_acc: test images") * 2,
)
def gap_curves() -> Figure:
    figure = plots.gap_curves({"as published": history(), "grouped": history(0.1)})
    for axes, last in zip(figure.axes, (50, 40)):
        assert drawn(axes, "p_acc: images it trains on") == [30, 60, 90]
        assert drawn(axes, "val_p_acc: test images") == [25, 40, last]
        assert all(float(epoch).is_integer() for epoch in axes.get_xticks())
        corners = axes.collections[0].get_paths()[0].vertices
        assert corners[:, 1].max() == 90 and corners[:, 1].min() == 25
    return figure


@case(
    panels=1,
    images=1,
    colour_bars=("test accuracy (%)",),
    texts=("40.0%", "30% to 50%", "50.0%", "40% to 60%", "60.0%", "50% to 70%", "72.5%", "62% to 83%"),
)
def two_by_two() -> Figure:
    values = np.array([[0.4, 0.5], [0.6, 0.725]])
    intervals = [[(0.3, 0.5), (0.4, 0.6)], [(0.5, 0.7), (0.6249, 0.825001)]]
    figure = plots.two_by_two(values, intervals, ["stopped", "joint"], ["linear", "three layers"])
    axes = figure.axes[0]
    assert np.allclose(picture(axes), 100 * values) and axes.images[0].get_clim() == (0, 100)
    assert ticks(axes) == ["linear", "three layers"] and ticks(axes, "y") == ["stopped", "joint"]
    return figure


@case(
    panels=2,
    titles=("random encoder", "raw pixels"),
    xlabels=("test accuracy (%)",) * 2,
    legend=("seen", "unseen", "all"),
)
def acquaintance_panels() -> Figure:
    rows = [
        (model, split, patients, accuracy + 10 * (model == "raw pixels"))
        for model in ("random encoder", "raw pixels")
        for split, patients, accuracy in (
            ("as published", "seen", 70.0), ("as published", "unseen", 50.0), ("as published", "all", 60.0),
            ("patient", "unseen", 45.0), ("patient", "all", 45.0),
        )
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["model", "split", "patients", "accuracy"])
    figure = plots.acquaintance_panels(table.assign(lo=table["accuracy"] - 5, hi=table["accuracy"] + 5))
    left, right = figure.axes
    assert list(line(left, "seen").get_xdata()) == [70] and list(line(right, "unseen").get_xdata()) == [60, 55]
    assert ticks(left, "y") == ["patient", "as published"]
    return figure


@case(
    panels=2,
    titles=("read by: linear", "read by: fine-tune"),
    xlabels=("labelled images",) * 2,
    ylabels=("test balanced accuracy (%)",) * 2,
    legend=("SimCLR", "from scratch"),
)
def label_curve_plot() -> Figure:
    rows = [
        (method, kind, labels, seed, 0.2 + 0.1 * place + 0.1 * seed)
        for kind in ("linear", "fine_tune")
        for method in ("SimCLR", "from scratch")
        for place, labels in enumerate((12, 123))
        for seed in (0, 1)
    ]
    curve = pd.DataFrame(rows, columns=["method", "kind", "labels", "seed", "balanced_accuracy"])
    figure = plots.label_curve_plot(curve, "balanced_accuracy")
    for axes in figure.axes:
        assert axes.get_xscale() == "log" and ticks(axes) == ["12", "123"]
        for container in axes.containers:
            assert np.allclose(container.lines[0].get_ydata(), [25, 35])
            bars = [segment[:, 1] for segment in container.lines[2][0].get_segments()]
            assert np.allclose(bars, [[20, 30], [30, 40]])
    return figure


# contrastive


@case(
    panels=4,
    images=3,
    titles=("one scan", "view 1", "view 2"),
    texts=(
        "encoder $f$", "$h_1$", "projection\nhead $g$", "$z_1$", "encoder $f$", "$h_2$", "projection\nhead $g$",
        "$z_2$", "NT-Xent\nloss", "the same\nweights", "the same\nweights",
    ),
)  # fmt: skip
def two_view_diagram() -> Figure:
    scan, one, two = scans(3)
    figure = plots.two_view_diagram(scan, (one, two), ("encoder $f$", "projection\nhead $g$"), "NT-Xent\nloss")
    for axes, image in zip(figure.axes[0].child_axes, (scan, one, two)):
        assert np.array_equal(picture(axes), image[0])
    return figure


@case(
    panels=2,
    images=2,
    titles=("cosine similarity", "share"),
    colour_bars=("value of the cell",),
    texts=("1.00", "-0.50", "0.00", "", "0.25", "0.75", "0.00", "1.00"),
)
def matrices() -> Figure:
    first, second = np.array([[1, -0.5], [-0.001, np.nan]]), np.array([[0.25, 0.75], [0, 1]])
    figure = plots.matrices({"cosine similarity": first, "share": second}, ["A", "B"], marked=[(0, 1)])
    left = figure.axes[0]
    assert np.array_equal(picture(left)[0], first[0]) and left.images[0].get_clim() == (-1, 1)
    assert ticks(left) == ticks(left, "y") == ["A", "B"]
    [frame] = left.patches
    assert (frame.get_x(), frame.get_y()) == (0.5, -0.5)  # row 0, column 1
    low, high = (left.images[0].cmap(end) for end in (0.0, 1.0))
    assert (to_hex(low).upper(), to_hex(high).upper()) == (BLUE, ORANGE)
    return figure


@case(panels=2, images=3, titles=("the scan", "contrastive"), colour_bars=("share of views with the spot",))
def maps_over_image() -> Figure:
    image, values = scans(1, 32)[0], np.linspace(0, 1, 16).reshape(4, 4)
    figure = plots.maps_over_image(image, {"contrastive": values}, "share of views with the spot")
    scan, covered = panels(figure)
    assert np.array_equal(picture(scan), image[0]) and np.array_equal(picture(covered, 0), image[0])
    assert np.array_equal(picture(covered, 1), values)
    assert covered.images[1].get_extent() == [-0.5, 31.5, 31.5, -0.5]  # the map covers the whole image
    return figure


@case(
    panels=1,
    xlabels=("epoch",),
    ylabels=("pairs right (%)",),
    legend=("published", "fair", "guessing", "the published figure"),
)
def line_plot() -> Figure:
    lines = {"published": (np.array([1, 2]), [50, 60]), "fair": (np.array([1, 2]), [55, 70])}
    levels = {"guessing": 50.0, "the published figure": 65.0}
    figure = plots.line_plot(lines, "epoch", "pairs right (%)", levels)
    [axes] = figure.axes
    assert drawn(axes, "published") == [50, 60] and drawn(axes, "fair") == [55, 70]
    assert level(axes, "guessing") == 50 and level(axes, "the published figure") == 65
    assert line(axes, "guessing").get_linestyle() != line(axes, "the published figure").get_linestyle()
    return figure


@case(
    panels=1,
    ylabels=("features moved (%)",),
    legend=("another scan", "random encoder", "fair"),
)
def grouped_bars() -> Figure:
    index = pd.Index(["flip", "area", "degrees", "brightness", "contrast"])
    table = pd.DataFrame({"random encoder": [0.1, 0.2, 0.3, 0.4, 0.5], "fair": [0.5, 0.4, 0.3, 0.2, 0.1]}, index)
    figure = plots.grouped_bars(table, "features moved (%)", {"another scan": 1.0})
    [axes] = figure.axes
    first, second = axes.containers
    assert heights(first) == [10, 20, 30, 40, 50] and heights(second) == [50, 40, 30, 20, 10]
    assert level(axes, "another scan") == 100 and ticks(axes) == list(index)
    return figure


@case(panels=6, images=6, titles=("test:\nglioma", "glioma", "no_tumor", "test:\npituitary", "pituitary", "glioma"))
def neighbour_grid() -> Figure:
    queries, found = scans(2), scans(4).reshape(2, 2, 1, 8, 8)
    titles = [["test:\nglioma", "glioma", "no_tumor"], ["test:\npituitary", "pituitary", "glioma"]]
    figure = plots.neighbour_grid(queries, found, titles, [[True, False], [True, False]])
    for row in range(2):
        query, *near = figure.axes[3 * row : 3 * row + 3]
        assert np.array_equal(picture(query), queries[row, 0])
        assert all(np.array_equal(picture(axes), image[0]) for axes, image in zip(near, found[row]))
        assert [frame(axes) for axes in near] == [(BLUE, "-"), (ORANGE, "--")]
    return figure


@case(
    panels=6,
    images=10,
    titles=("glioma", "no_tumor"),
    ylabels=("slice", "before", "after"),
    colour_bars=("share of the map's\nlargest value",),
)
def looking_sheet() -> Figure:
    masks, maps = np.zeros((2, 8, 8), bool), np.arange(128.0).reshape(2, 8, 8)
    masks[0, 2:4, 3:6] = True
    figure = plots.looking_sheet(scans(2), masks, {"before": maps, "after": maps[::-1]}, ["glioma", "no_tumor"])
    for column, image in enumerate(scans(2)):
        assert np.array_equal(picture(figure.axes[column]), image[0])
        for row, values in enumerate((maps, maps[::-1]), 1):
            overlay = figure.axes[2 * row + column].images[1].get_array()
            assert np.allclose(overlay, values[column] / values[column].max())
    outlined = [any(type(part).__name__ == "QuadContourSet" for part in axes.collections) for axes in figure.axes[:6]]
    assert outlined == [True, False] * 3, "a slice without a lesion has no outline"
    return figure


# data


@case(panels=16, images=8, titles=("figshare", "kaggle_four_classes"), ylabels=CLASSES)
def source_sheet() -> Figure:
    data = corpus()
    figure = plots.source_sheet(data, per_cell=2)
    cells = np.array(figure.axes).reshape(4, 4)
    assert [len(axes.images) for axes in cells[2]] == [
        1,
        0,
        1,
        1,
    ]  # no_tumor: one of the first source, two of the second
    assert np.array_equal(picture(cells[3, 0]), data.images[3, 0]) and not cells[3, 2].images
    return figure


@case(
    panels=2,
    titles=("figshare: 1 size", "kaggle_four_classes: 3 sizes"),
    xlabels=("width (px)",) * 2,
    ylabels=("height (px)",),
)
def size_panels() -> Figure:
    figure = plots.size_panels(corpus())
    assert points(figure.axes[1]).tolist() == [[200, 210], [300, 300], [640, 480]]
    areas = figure.axes[1].collections[0].get_sizes()
    assert areas[1] > areas[0] == areas[2]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_ylim() == (0, 1.05 * 640)
    return figure


@case(
    panels=4,
    images=4,
    titles=("figshare\nglioma", "figshare\nno_tumor", "kaggle_four_classes\nglioma", "kaggle_four_classes\nno_tumor"),
    xlabels=("correlation 0.991", "pixels 1.000"),
    ylabels=("test image", "its copy"),
)
def picture_pairs() -> Figure:
    data = corpus()
    names = ("test image", "its copy")
    figure = plots.picture_pairs(data, [0, 2], [4, 6], ["correlation 0.991", "pixels 1.000"], names)
    for axes, row in zip(figure.axes, (0, 2, 4, 6)):
        assert np.array_equal(picture(axes), data.images[row, 0]) and axes.images[0].get_clim() == (0, 255)
    [empty] = plots.picture_pairs(data, [], [], []).axes
    assert [text.get_text() for text in empty.texts] == ["no such pair in this corpus"]
    return figure


@case(
    panels=6,
    images=6,
    titles=("96 x 96 px", "32 x 32 px", "64 bits"),
    xlabels=("0 of 64 bits differ", "3 of 64 bits differ"),
    ylabels=("the original", "mirrored"),
)
def hash_steps() -> Figure:
    rng = np.random.default_rng(0)
    steps = bytes_of(scans(1, 96))[0, 0], bytes_of(scans(1, 32))[0, 0], rng.random((8, 8)) < 0.5
    distance = ["0 of 64 bits differ", "3 of 64 bits differ"]
    figure = plots.hash_steps({"the original": steps, "mirrored": steps}, distance)
    assert np.array_equal(picture(figure.axes[0]), steps[0]) and np.array_equal(picture(figure.axes[1]), steps[1])
    assert np.array_equal(picture(figure.axes[5]) == 255, steps[2])
    return figure


@case(
    panels=2,
    titles=("plain", "aligned and filtered"),
    xlabels=("correlation",) * 2,
    ylabels=("share of the pairs (%)",),
    legend=("pairs at random (4)", "links found (2)", "threshold 0.98") * 2,
)
def correlation_histogram() -> Figure:
    links, others = [0.985, 0.99], [-0.9, 0.0, 0.1, 0.9]
    figure = plots.correlation_histogram({"plain": (links, others), "aligned and filtered": (links, others)})
    for axes in figure.axes:
        random, found = axes.containers
        assert heights(found)[-1] == 100 and sum(heights(random)) == 100
        assert heights(random)[0] == 25  # what lies below the axis is counted in its first bar
        assert set(line(axes, "threshold 0.98").get_xdata()) == {0.98}
    return figure


@case(
    panels=1,
    xlabels=("have a copy in",),
    ylabels=("images of",),
    colour_bars=("share of the row (%)",),
    texts=("10 %\n2", "25 %\n5", "50 %\n5", "0 %\n0"),
)
def overlap_map() -> Figure:
    sources = ["figshare", "kaggle_four_classes"]
    shared = pd.DataFrame([[2, 5], [5, 0]], sources, sources)
    figure = plots.overlap_map(shared, pd.Series([10, 20], sources[::-1]))
    mesh = figure.axes[0].collections[0]
    assert np.allclose(np.asarray(mesh.get_array()).ravel(), [10, 25, 50, 0]) and mesh.get_clim() == (0, 100)
    assert ticks(figure.axes[0]) == ticks(figure.axes[0], "y") == sources
    return figure


@case(
    panels=2,
    titles=("as published (308 test images)", "grouped (300 test images)"),
    xlabels=("a copy in the",) * 2,
    ylabels=("test images (%)",),
    legend=("correlation from 0.98", "correlation from 0.90"),
    texts=["10", "60", "65", "20", "70", "75"] * 2,
)
def leakage_bars() -> Figure:
    table = pd.DataFrame(
        {
            "threshold": [0.98] * 3 + [0.90] * 3,
            "part": ["either", "train", "unlabeled"] * 2,  # not in the figure's order
            "share": [0.65, 0.1, 0.6, 0.75, 0.2, 0.7],
        }
    )
    leaks = {"as published": table.assign(test_images=308), "grouped": table.assign(test_images=300)}
    figure = plots.leakage_bars(leaks)
    for axes in figure.axes:
        assert [heights(bars) for bars in axes.containers] == [[10, 60, 65], [20, 70, 75]]
        assert ticks(axes) == ["labelled part", "unlabelled part", "either"]
    return figure


@case(panels=1, ylabels=("test images (%)",), legend=("copy", "patient"), texts=["50", "0", "75", "10"])
def share_bars() -> Figure:
    shares = pd.DataFrame({"copy": [0.5, 0.0], "patient": [0.75, 0.1]}, index=["as published", "grouped"])
    figure = plots.share_bars(shares, "test images (%)")
    [axes] = figure.axes
    assert [heights(bars) for bars in axes.containers] == [[50, 0], [75, 10]]
    assert ticks(axes) == ["as published", "grouped"]
    return figure


@case(
    panels=1, ylabels=("test accuracy (%)",), texts=("65 %", "40 %", "supervised CNN", "65 %", "40 %", "kNN on pixels")
)
def split_comparison() -> Figure:
    rows = [
        (learner, split, seed, accuracy)
        for learner in ("supervised CNN", "kNN on pixels")
        for split, accuracies in (("as published", (0.6, 0.7)), ("grouped", (0.4,)))
        for seed, accuracy in enumerate(accuracies)
    ]
    learners, splits, seeds, accuracies = zip(*rows)
    scores = results(learner=learners, split=splits, seed=seeds, accuracy=accuracies)
    figure = plots.split_comparison(scores, chance=0.3)
    [axes] = figure.axes
    dots = [list(one.get_ydata()) for one in axes.get_lines() if one.get_marker() == "o"]
    assert np.allclose(np.concatenate(dots), [60, 70, 40] * 2)
    means = [float(one.get_ydata()[0]) for one in axes.get_lines() if one.get_marker() == "D"]
    assert np.allclose(means, [65, 40, 65, 40])
    assert set(axes.get_lines()[-1].get_ydata()) == {30}
    assert ticks(axes) == ["as published", "grouped"] * 2 and axes.get_ylim() == (0, 102)
    return figure


# masked


@case(panels=4, images=6, titles=("glioma", "no_tumor"), ylabels=("scan", "what it sees"))
def repair_sheet() -> Figure:
    images = scans(2)
    hidden = np.zeros((2, 1, 8, 8), bool)
    hidden[:, :, 2:5, 3:6] = True
    figure = plots.repair_sheet({"scan": images, "what it sees": (images, hidden)}, ["glioma", "no_tumor"])
    for axes, image, mask in zip(figure.axes[2:], images, hidden):
        assert np.array_equal(picture(axes), image[0])
        cover = picture(axes, 1)
        assert np.array_equal(cover[..., 3] == 1, mask[0])
        assert np.allclose(cover[0, 0, :3], to_rgb("#56B4E9"))  # light blue, as the captions say
    return figure


@case(
    panels=6,
    images=6,
    titles=("glioma", "no_tumor"),
    ylabels=("scan", "repair", "squared error"),
    colour_bars=("squared error",),
)
def error_maps() -> Figure:
    images, repairs = scans(2), scans(3)[:2]
    errors = (images - repairs) ** 2
    figure = plots.error_maps(images, repairs, errors, ["glioma", "no_tumor"])
    for row, shown in enumerate((images, repairs, errors)):
        for column in range(2):
            assert np.array_equal(picture(figure.axes[2 * row + column]), shown[column, 0])
    assert figure.axes[4].images[0].get_clim() == figure.axes[5].images[0].get_clim()
    return figure


@case(panels=2, ylabels=("error (grey levels)", "error / variance"))
def class_boxes() -> Figure:
    values, labels = np.arange(9.0), np.array([0, 0, 0, 1, 1, 1, 3, 3, 3])  # none of the third class
    figure = plots.class_boxes({"error (grey levels)": values, "error / variance": values / 10}, labels, CLASSES)
    left = figure.axes[0]
    assert ticks(left) == list(CLASSES) and len(left.collections) == 3
    assert points(left, 2)[:, 1].tolist() == [6, 7, 8] and np.allclose(points(left, 2)[:, 0], 3, atol=0.2)
    assert to_hex(left.collections[2].get_facecolor()[0][:3]).upper() == plots.CLASS_COLOURS["pituitary"]
    medians = [
        one.get_ydata()[0] for one in left.get_lines() if one.get_color() == "black" and len(set(one.get_ydata())) == 1
    ]
    assert {1.0, 4.0, 7.0} <= set(medians)
    return figure


# neighbours


@case(
    panels=2,
    titles=("greatest dot product", "greatest cosine"),
    xlabels=("first coordinate",) * 2,
    ylabels=("second coordinate",),
    legend=("queue entry", "query"),
    texts=("q0", "q1", "z0") * 2,
)
def support_circle() -> Figure:
    queue, queries = [[1.0, 0.0], [1.4, 1.4]], [[0.95, 0.3]]
    figure = plots.support_circle(queue, queries, {"greatest dot product": [1], "greatest cosine": [0]})
    for axes, chosen in zip(figure.axes, (1, 0)):
        assert points(axes, 0).tolist() == queue and points(axes, 1).tolist() == queries
        [arrow] = [text for text in axes.texts if not text.get_text()]
        assert list(arrow.xy) == queue[chosen] and list(arrow.get_position()) == queries[0]
    return figure


@case(
    panels=2,
    titles=("cross-view", "NT-Xent"),
    xlabels=("compared with",) * 2,
    ylabels=("one of the pair",),
    texts=[*"+--++--+", *"-+---++---+-"],  # the cells of each panel, row by row
)
def counted_pairs() -> Figure:
    figure = plots.counted_pairs(2)
    colours = [to_hex(patch.get_facecolor()).upper() for patch in figure.axes[1].patches]
    within = [to_hex(patch.get_facecolor()).upper() for patch in figure.axes[0].patches]
    assert colours[1] == ORANGE_RED and ORANGE_RED not in within  # pairs that only NT-Xent counts
    assert ticks(figure.axes[0]) == ["n0", "n1", "p0", "p1"]
    return figure


@case(
    panels=4,
    images=4,
    titles=("glioma", "no_tumor", "glioma (copy)", "meningioma"),
    ylabels=("query", "random\nweights"),
)
def neighbour_sheet() -> Figure:
    queries, found = scans(2), scans(3)[:2]
    rows = {"random\nweights": (found, ["glioma (copy)", "meningioma"], [True, False])}
    figure = plots.neighbour_sheet(queries, rows, ["glioma", "no_tumor"])
    for axes, image in zip(figure.axes, np.concatenate([queries, found])):
        assert np.array_equal(picture(axes), image[0])
    assert [frame(axes) for axes in figure.axes[2:]] == [(BLUE, "-"), (ORANGE_RED, "--")]
    return figure


@case(
    panels=1,
    xlabels=("queue length (embeddings)",),
    ylabels=("share of the queries (%)",),
    legend=("same class", "itself", "same class, by chance", "fair: 1,024"),
)
def queue_shares() -> Figure:
    lengths = [64, 128, 256, 512, 1024, 2048, 4096, 6128, 10_000]
    table = pd.DataFrame({"same class": np.linspace(0.3, 0.5, 9), "itself": np.linspace(0, 1, 9)}, lengths)
    figure = plots.queue_shares(table, {"fair: 1,024": 1024}, chance=0.25)
    [axes] = figure.axes
    assert drawn(axes, "itself") == list(np.linspace(0, 100, 9)) and level(axes, "same class, by chance") == 25
    assert set(line(axes, "fair: 1,024").get_xdata()) == {1024}
    assert axes.get_xscale() == "log" and ticks(axes)[-1] == "10,000"
    return figure


# pairs


@case(
    panels=3,
    images=2,
    titles=("$x_1$", "$x_2$"),
    texts=(
        "network $f$", "$z_1$", "network $f$", "$z_2$", "the same weights",
        r"distance $d = \Vert z_1 - z_2 \Vert$",
    ),
)  # fmt: skip
def twin_diagram() -> Figure:
    first, second = bytes_of(scans(2))
    figure = plots.twin_diagram(first, second)
    for axes, image in zip(figure.axes[0].child_axes, (first, second)):
        assert np.array_equal(picture(axes), image[0])
    return figure


@case(panels=4, images=4, titles=("3 and 3", "8 and 8", "3 and 8", "1 and 7"), ylabels=("positive", "negative"))
def pair_sheet() -> Figure:
    first, second = scans(2), scans(3)[:2]
    sheet = {"positive": (first, second, ["3 and 3", "8 and 8"]), "negative": (second, first, ["3 and 8", "1 and 7"])}
    figure = plots.pair_sheet(sheet)
    shown = picture(figure.axes[0])
    assert np.array_equal(shown[:, :8], first[0, 0]) and np.array_equal(shown[:, 9:], second[0, 0])
    assert (shown[:, 8] == 1).all()  # a white gap
    return figure


@case(
    panels=2,
    titles=("what a pair costs", "how hard it pulls (+) or pushes (-)"),
    xlabels=("distance of the pair",) * 2,
    ylabels=("cost", "slope of the cost"),
    legend=(
        "positive, with margin", "negative, with margin", "positive, squared distance", "negative, squared distance",
    ),
)  # fmt: skip
def pair_costs() -> Figure:
    figure = plots.pair_costs(0.5)
    left, right = figure.axes
    distance = np.asarray(line(left, "negative, with margin").get_xdata())
    assert np.allclose(line(left, "negative, with margin").get_ydata(), np.maximum(0, 0.5 - distance) ** 2)
    for cost, slope in zip(left.get_lines(), right.get_lines()):
        numeric = np.gradient(np.asarray(cost.get_ydata()), distance)
        assert np.allclose(numeric[1:-1], np.asarray(slope.get_ydata())[1:-1], atol=0.02)
        assert (cost.get_color(), cost.get_linestyle()) == (slope.get_color(), slope.get_linestyle())
    return figure


@case(
    panels=3,
    titles=("published", "fair", "pixels"),
    xlabels=("distance",) * 3,
    ylabels=("share of pairs (%)",) * 2,
    legend=("positive", "negative", "threshold"),
)
def distance_histograms() -> Figure:
    pair = ([0.1, 0.1, 0.2, 0.2], [0.9, 0.95, 1.0, 1.2])
    names = ("published", "fair", "pixels")
    figure = plots.distance_histograms(dict.fromkeys(names, pair), dict.fromkeys(names, 0.5), columns=2)
    axes = panels(figure)[0]
    positive, negative = (patch.get_data() for patch in axes.patches)
    assert sum(positive.values) == sum(negative.values) == pytest.approx(100)
    assert positive.values[positive.edges[1:] > 0.5].sum() == 0
    assert set(line(axes, "threshold").get_xdata()) == {0.5}
    return figure


@case(
    panels=2,
    titles=("before", "after"),
    xlabels=("first coordinate",) * 2,
    ylabels=("second coordinate",) * 2,
)
def digit_map() -> Figure:
    xy, digits = np.random.default_rng(1).normal(size=(20, 2)), np.arange(20) % 10
    figure = plots.digit_map({"before": xy, "after": 2 * xy}, digits)
    marks = figure.axes[1].collections
    assert all(np.allclose(points(figure.axes[1], digit), 2 * xy[digits == digit]) for digit in range(10))
    assert len({to_hex(mark.get_facecolor()[0]) for mark in marks}) == 10
    return figure


# redundancy


@case(
    panels=2,
    images=2,
    titles=("centred: eq. 3", "step 36"),
    xlabels=("feature in view B",) * 2,
    ylabels=("feature in view A",),
    colour_bars=("correlation",),
    texts=("1.00", "-0.70", "0.20", "1.00"),
)
def correlation_panels() -> Figure:
    small, large = np.array([[1, -0.7], [0.2, 1]]), np.eye(8)
    figure = plots.correlation_panels({"centred: eq. 3": small, "step 36": large})
    left, right = panels(figure)
    assert np.array_equal(picture(left), small) and np.array_equal(picture(right), large)
    assert left.images[0].get_clim() == (-1, 1)
    assert ticks(left) == ["1", "2"] and ticks(right) == ["1", "8"]
    return figure


@case(
    panels=2,
    titles=("one mask for good", "a fresh mask every step"),
    xlabels=("training step",) * 2,
    ylabels=("hidden error (grey levels)",),
    legend=("the fixed holes", "other scans", "noise"),
)
def step_curves() -> Figure:
    table = pd.DataFrame({"the fixed holes": [90.0, 40.0], "other scans": [91.0, 60.0]}, [0, 10])
    tables = {"one mask for good": table, "a fresh mask every step": table + 1}
    figure = plots.step_curves(tables, "hidden error (grey levels)", {"noise": 5.0})
    assert drawn(figure.axes[1], "the fixed holes") == [91, 41]
    for axes in figure.axes:
        assert list(line(axes, "other scans").get_xdata()) == [0, 10] and level(axes, "noise") == 5
    return figure


@case(
    panels=2,
    titles=("linear end", "ReLU end"),
    xlabels=("value of a unit",) * 2,
    ylabels=("share of values (%)",),
)
def unit_histograms() -> Figure:
    linear = np.array([[-2.0, 2.0], [-1.0, 1.0]])
    figure = plots.unit_histograms({"linear end": linear, "ReLU end": np.maximum(linear, 0)})
    for axes, below in zip(figure.axes, (50, 0)):
        [bars] = axes.containers
        assert sum(heights(bars)) == pytest.approx(100)
        assert sum(bar.get_height() for bar in bars if bar.get_x() + bar.get_width() < -0.1) == pytest.approx(below)
    return figure


@case(
    panels=2,
    titles=("published, grouped", "fair"),
    xlabels=("test accuracy (%)",) * 2,
    legend=("trained encoder", "random encoder"),
)
def reading_panels() -> Figure:
    rows = [
        (s, r, m)
        for s in ("published, grouped", "fair")
        for r in ("linear probe", "kNN")
        for m in ("trained", "random")
    ]
    setting, reading, model = zip(*rows)
    table = results(setting=setting, reading=reading, model=model, accuracy=[0.7, 0.4, 0.6, 0.3] * 2)
    figure = plots.reading_panels(table, {"published, grouped": 0.25, "fair": 0.3})
    for axes, chance in zip(figure.axes, (25, 30)):
        assert np.allclose(line(axes, "trained encoder").get_xdata(), [70, 60])
        assert np.allclose(line(axes, "random encoder").get_xdata(), [40, 30])
        assert set(axes.get_lines()[-1].get_xdata()) == {chance}
        assert np.allclose([one[:, 0] for one in axes.collections[0].get_segments()], [[60, 80], [50, 70]])
        assert axes.get_xlim() == (0, 101)
    assert ticks(figure.axes[0], "y") == ["kNN", "linear probe"]
    beside = plots.reading_panels(pd.concat([table, table.tail(1).assign(model="shipped", accuracy=0.9)]))
    assert line(beside.axes[1], "shipped encoder, full length").get_xdata() == [90]
    return figure


# The promises


def figure_functions() -> set[str]:
    found = {name: getattr(plots, name) for name in plots.__all__}
    return {name for name, one in found.items() if getattr(one, "__annotations__", {}).get("return") == "Figure"}


def test_every_figure_has_a_case() -> None:
    assert figure_functions() == set(CASES) and len(CASES) > 30


@pytest.mark.parametrize("name", sorted(CASES))
def test_figure_shows_what_it_is_given_and_says_so(name: str) -> None:
    expected = CASES[name]
    figure = expected.draw()  # compares the drawn numbers with those given
    shown = panels(figure)
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert len(shown) == expected.panels
    assert sum(len(axes.images) for axes in shown) == expected.images
    titles = given(axes.get_title(side) for axes in shown for side in ("left", "center", "right"))
    assert titles == list(expected.titles)
    assert given(axes.get_xlabel() for axes in shown) == list(expected.xlabels)
    assert given(axes.get_ylabel() for axes in shown) == list(expected.ylabels)
    assert legend(figure) == list(expected.legend)
    assert [axes.get_ylabel() for axes in bars] == list(expected.colour_bars)
    if name != "maps_over_image":  # its texts are matplotlib's, on the contour lines
        assert given(text.get_text() for axes in shown for text in axes.texts) == given(iter(expected.texts))


def outer_words(figure: Figure) -> Iterator[Text]:
    """Titles, labels, tick labels, legends and the caption: what stands outside the drawing."""
    for axes in [*panels(figure), *(axes for axes in figure.axes if axes.get_label() == "<colorbar>")]:
        if axes.axison:
            yield from (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)  # type: ignore[attr-defined]
            for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                for tick in axis.get_major_ticks():
                    if min(low, high) <= tick.get_loc() <= max(low, high):
                        yield from (tick.label1, tick.label2)
    if figure._supxlabel is not None:  # type: ignore[attr-defined]
        yield figure._supxlabel  # type: ignore[attr-defined]


def assert_readable(figure: Figure) -> None:
    """No word is cut off by the page or lies on another."""
    plots.show(figure, "A caption that says what the figure shows, in one sentence or two, so that it takes two lines.")
    figure.canvas.draw()
    page = figure.bbox
    inner = [text for axes in panels(figure) for text in axes.texts]
    keys = [text for axes in panels(figure) if (box := axes.get_legend()) for text in box.get_texts()]
    boxes = []
    for text in [*outer_words(figure), *inner, *keys]:
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            boxes.append((text, box))
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
            assert inside, f"'{text.get_text()}' is cut off"
    for (one, a), (other, b) in combinations(boxes, 2):
        tilted = one.get_rotation() % 90 and other.get_rotation() % 90  # their boxes overlap although they do not
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert tilted or width <= 1 or height <= 1, f"'{one.get_text()}' lies on '{other.get_text()}'"


@pytest.mark.parametrize("name", sorted(CASES))
def test_words_are_neither_cut_off_nor_laid_over_each_other(name: str) -> None:
    assert_readable(CASES[name].draw())


@pytest.mark.parametrize("count", [2, 6, 10, 20])
def test_figures_stay_readable_with_any_number_of_classes(count: int) -> None:
    names, codes = [f"class number {place}" for place in range(count)], np.arange(count).repeat(3)
    counts = np.full((count, count), 17)
    assert_readable(plots.confusion_matrices({"one": {"confusion": counts}, "other": {"confusion": counts}}, names))
    xy = np.random.default_rng(0).normal(size=(len(codes), 2))
    figure = plots.embedding({"before": xy, "after": xy}, codes, names)
    assert_readable(figure)
    looks = {
        (to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in figure.axes[0].collections
    }
    assert len(looks) == count, "colour and mark together tell the classes apart"


def test_a_hundred_classes_are_a_map_of_shades_and_a_sheet_of_twelve_rows() -> None:
    names = [f"c{place}" for place in range(100)]
    figure = plots.confusion_matrices({"one": {"confusion": np.eye(100, dtype=int)}}, names)
    assert not figure.axes[0].texts and figure.get_figwidth() < 10
    table = pd.DataFrame({"class_name": names, "source": "mine"})
    assert plots.source_sheet(as_corpus(np.zeros((100, 1, 8, 8), np.uint8), table, names)).get_figheight() < 20


def test_images_without_a_class_have_a_row_and_a_name() -> None:
    table = pd.DataFrame({"class_name": ["a", "b", "", ""], "source": ["mine", "mine", "mine", "pool"]})
    data = as_corpus(bytes_of(scans(4)), table, "ab")
    figure = plots.source_sheet(data, per_cell=1)
    cells = np.array(figure.axes).reshape(3, 2)
    assert [axes.get_ylabel() for axes in cells[:, 0]] == ["a", "b", "(no class)"]
    assert [len(axes.images) for axes in cells[2]] == [1, 1]
    titles = [axes.get_title() for axes in plots.picture_pairs(data, [0], [3], ["1.0"]).axes]
    assert titles == ["mine\na", "pool\n(no class)"]


@pytest.mark.parametrize("count", [2, 6, 12])
def test_classes_of_ones_own_differ_in_colour_from_each_other_and_from_the_courses(count: int) -> None:
    own = [plots.class_colour(f"kind {place}", place) for place in range(count)]
    both = [*own, *(plots.class_colour(name, 0) for name in CLASSES)]
    apart = [np.abs(np.subtract(to_rgb(a), to_rgb(b))).sum() for a, b in combinations(both, 2)]
    assert min(apart) > 0.2
    xy = np.zeros((count, 2))
    [axes] = plots.embedding({"": xy}, np.arange(count), [f"kind {place}" for place in range(count)]).axes
    assert [to_hex(dots.get_facecolor()[0][:3]).upper() for dots in axes.collections] == own


def test_a_ninth_line_is_drawn_in_a_colour_of_its_own() -> None:
    names = [f"line {number}" for number in range(12)]
    table = pd.DataFrame({name: [0.1, 0.2] for name in names}, index=[1, 10])
    figures = [
        plots.line_plot({name: ([1, 2], [3, 4]) for name in names}, "x", "y"),
        plots.step_curves({"": table}, "y"),
        plots.queue_shares(table, {}),
    ]
    for figure in figures:
        assert legend(figure) == names and len({one.get_color() for one in figure.axes[0].get_lines()}) == 12
    assert len(plots.grouped_bars(table, "y").axes[0].containers) == 12
    assert len(set(COLOURS)) == len(COLOURS) == 16


def test_a_method_keeps_its_colour_whatever_it_is_called_and_whatever_stands_beside_it() -> None:
    alone = plots.compare_curves({"simclr": history()}, ["c_acc"], "accuracy (%)", [""]).axes[0]
    beside = {"published, grouped": history(), "a new idea": history(), "SimCLR": history(), "barlow_twins": history()}
    axes = plots.compare_curves(beside, ["c_acc"], "accuracy (%)", [""]).axes[0]
    colours = {one.get_label(): one.get_color() for one in axes.get_lines()}
    assert list(colours) == ["published, grouped", "a new idea", "SimCLR", "Barlow Twins"]
    assert colours["SimCLR"] == line(alone, "SimCLR").get_color() and len(set(colours.values())) == 4


def test_plots_draw_without_loading_torch() -> None:
    code = "import sys; from brainssl_utils import plots; plots.pair_costs(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_show_writes_the_caption_under_the_figure_and_the_file(tmp_path) -> None:
    figure, axes = plots.new_figure(2, 3, width=2.0, height=1.5)
    assert axes.shape == (2, 3) and tuple(figure.get_size_inches()) == (6.0, 3.0)
    plots.show(figure, "What it shows.", tmp_path, "01_name")
    assert figure.get_supxlabel() == "What it shows."
    assert (tmp_path / "figures" / "01_name.png").read_bytes().startswith(b"\x89PNG")


def test_a_small_picture_is_enlarged_by_repeating_its_pixels() -> None:
    small = np.array([[1, 2], [3, 4]], np.uint8)
    assert np.array_equal(plots.to_size(small, 4), small.repeat(2, 0).repeat(2, 1))
