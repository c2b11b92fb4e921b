"""Where a phantom's lesion is: the mask holds what the lesion changes, and the slice without it is the same slice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.loading import load_corpus
from brainssl_utils.data.phantoms.truth import Lesions, knows_lesions, lesions_of
from brainssl_utils.errors import CourseError

N_FILES = 60


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(f"phantoms:{N_FILES}", 96, tmp_path_factory.mktemp("cache"), progress=False)


@pytest.fixture(scope="module")
def rows(corpus: Corpus) -> np.ndarray:
    """Two images of each class from each source."""
    files = corpus.files.reset_index()
    return files.groupby(["source", "class_name"])["index"].head(2).to_numpy()


@pytest.fixture(scope="module")
def lesions(corpus: Corpus, rows: np.ndarray) -> Lesions:
    return lesions_of(corpus, rows)


def test_shapes_and_kinds(lesions: Lesions, rows: np.ndarray) -> None:
    assert lesions.masks.shape == (len(rows), 96, 96) and lesions.masks.dtype == bool
    assert lesions.healthy.shape == (len(rows), 1, 96, 96) and lesions.healthy.dtype == np.uint8


def test_the_mask_holds_what_the_lesion_changes(corpus: Corpus, rows: np.ndarray, lesions: Lesions) -> None:
    difference = np.abs(corpus.images[rows, 0].astype(float) - lesions.healthy[:, 0])
    for row, mask, changed in zip(rows, lesions.masks, difference):
        if not mask.any():
            continue
        around = ndimage.binary_dilation(mask, iterations=2)  # blur and JPEG carry a little over the edge
        assert changed[~around].max() < 40, corpus.files["id"][row]
        assert changed[around].sum() > 0.9 * changed.sum()
        assert changed[mask].mean() > 15


def test_without_a_tumour_the_mask_is_empty_and_the_picture_its_own(
    corpus: Corpus, rows: np.ndarray, lesions: Lesions
) -> None:
    healthy = (corpus.files["patient"].iloc[rows] != "") & (corpus.files["class_name"].iloc[rows] == "no_tumor")
    assert healthy.any()
    for row, mask, picture in zip(rows[healthy], lesions.masks[healthy], lesions.healthy[healthy]):
        assert not mask.any()
        np.testing.assert_array_equal(picture, corpus.images[row])
    assert all(mask.any() for mask in lesions.masks[~healthy])


def test_another_size_is_that_of_resized(corpus: Corpus, rows: np.ndarray) -> None:
    healthy = rows[corpus.files["class_name"].iloc[rows] == "no_tumor"][:2]
    found = lesions_of(corpus, healthy, image_size=48)
    assert found.masks.shape == (2, 48, 48)
    np.testing.assert_array_equal(found.healthy, corpus.resized(48)[healthy])


def test_a_subset_is_known_by_the_size_of_its_set(corpus: Corpus, rows: np.ndarray, lesions: Lesions) -> None:
    part = corpus.subset(rows[:3])
    assert knows_lesions(corpus) and not knows_lesions(part)
    with pytest.raises(CourseError, match="n_files"):
        lesions_of(part, [0, 1, 2])
    found = lesions_of(part, [2, 0], n_files=N_FILES)
    np.testing.assert_array_equal(found.masks, lesions.masks[[2, 0]])


def test_what_is_no_phantom_is_refused(corpus: Corpus) -> None:
    files = corpus.files.assign(source="archive")
    other = Corpus(corpus.images, files, corpus.problems, "0", "archives", corpus.copies)
    with pytest.raises(CourseError, match="is no phantom"):
        lesions_of(other, [0])
    with pytest.raises(CourseError, match="no rows"):
        lesions_of(corpus, [])


def test_pictures_that_look_otherwise_are_refused(corpus: Corpus) -> None:
    other = Corpus(255 - corpus.images, corpus.files, corpus.problems, "0", "phantoms", corpus.copies)
    with pytest.raises(CourseError, match="looks otherwise"):
        lesions_of(other, [0])
