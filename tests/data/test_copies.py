"""Search for copies: planted copies are found, look-alikes are not, and groups say what they rest on."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from brainssl_utils import CourseError
from brainssl_utils.data.conflicts import hash_search, label_conflicts, overlap_table, resolve_conflicts
from brainssl_utils.data.copies.candidates import hash_pairs, perceptual_hashes
from brainssl_utils.data.copies.contrast import plain_correlation
from brainssl_utils.data.copies.linking import links_table
from brainssl_utils.data.copies.search import find_groups, pair_correlation
from brainssl_utils.data.copies.signatures import mirrored_shape, signatures
from brainssl_utils.data.corpus import Copies, Corpus
from brainssl_utils.data.phantoms.anatomy import canonical_head
from brainssl_utils.data.phantoms.patients import draw_patient, render_slice
from brainssl_utils.data.reading.sources import CLASSES

SIDE = 96
N_PATIENTS = 48


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


def crop(image: Image.Image, share: float, x: float, y: float) -> Image.Image:
    width, height = image.size
    left, top = share * width * x, share * height * y
    return image.crop((round(left), round(top), round(left + width * (1 - share)), round(top + height * (1 - share))))


def gamma(image: Image.Image, power: float) -> Image.Image:
    return image.point([round(255 * (level / 255) ** power) for level in range(256)])


def resize(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def flip(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES = {
    "resize 0.5": lambda image, rng: resize(image, 0.5),
    "resize 2": lambda image, rng: resize(image, 2),
    "jpeg 30": lambda image, rng: jpeg(image, 30),
    "crop 10 %": lambda image, rng: crop(image, 0.1, *rng.random(2)),
    "gamma 0.7": lambda image, rng: gamma(image, 0.7),
    "gamma 1.4": lambda image, rng: gamma(image, 1.4),
    "flip": lambda image, rng: flip(image),
    "all": lambda image, rng: jpeg(
        gamma(
            crop(resize(flip(image), rng.uniform(0.5, 2)), rng.uniform(0, 0.1), *rng.random(2)), rng.uniform(0.7, 1.4)
        ),
        int(rng.integers(30, 91)),
    ),
}


@pytest.fixture(scope="module")
def slices() -> list[Image.Image]:
    """Two slices 5 mm apart of each of 48 patients, in three planes: 2 i and 2 i + 1 are neighbours."""
    head = canonical_head()
    drawn = []
    for i in range(N_PATIENTS):
        patient = draw_patient(11, i, CLASSES[i % 4], head)
        plane = ("axial", "coronal", "sagittal")[i // 4 % 3]
        drawn += [Image.fromarray(render_slice(patient, head, plane, offset)) for offset in (0.0, 5.0)]
    return drawn


@pytest.fixture(scope="module")
def originals(slices: list[Image.Image]) -> np.ndarray:
    return np.stack([small(image) for image in slices])[:, None]


def copies(slices: list[Image.Image], change: str) -> np.ndarray:
    rng = np.random.default_rng(sorted(CHANGES).index(change))
    return np.stack([small(CHANGES[change](image, rng)) for image in slices])[:, None]


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_and_nothing_else_is(change: str, slices: list[Image.Image], originals: np.ndarray) -> None:
    n = len(originals)
    found = find_groups(np.concatenate([originals, copies(slices, change)]), names(2 * n))
    links = found.links[found.links["value"] >= 0.98]
    assert (found.group[:n] == found.group[n:]).mean() >= 0.95
    assert (links["a"] % n == links["b"] % n).mean() >= 0.99
    assert len(np.unique(found.group[:n])) == n


def test_a_flipped_copy_is_reported_as_flipped(slices: list[Image.Image], originals: np.ndarray) -> None:
    n = len(originals)
    links = find_groups(np.concatenate([originals, copies(slices, "flip")]), names(2 * n)).links
    links = links[links["b"] - links["a"] == n]
    assert len(links) >= 0.95 * n and links["flipped"].mean() > 0.9
    value, flipped = pair_correlation(originals, originals[..., ::-1])
    assert value.min() > 0.99 and flipped.mean() > 0.9


@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_with_bright_parts_cut_off_are_linked_where_their_pixels_agree(
    mirrored: bool, slices: list[Image.Image], originals: np.ndarray
) -> None:
    n = len(originals)
    bright = np.stack([small(image.point(lambda level: min(255, 2 * level))) for image in slices])[:, None]
    aligned, plain = pair_correlation(originals, bright)[0], plain_correlation(originals[:, 0], bright[:, 0])
    agree = (plain >= 0.98) & (aligned >= 0.86)
    assert (agree & (aligned < 0.97)).sum() > 10, "the aligned correlation alone does not find them"
    found = find_groups(np.concatenate([originals, bright[..., ::-1] if mirrored else bright]), names(2 * n))
    assert (found.group[:n] == found.group[n:])[agree].mean() >= 0.95
    links = found.links[found.links["test"] == "plain"]
    assert (links["a"] % n == links["b"] % n).all() and (links["flipped"] == mirrored).all()
    assert (links["value"] >= 0.98).all()
    assert len(np.unique(found.group[:n])) == n


def test_families_of_many_copies_become_one_group_each(slices: list[Image.Image], originals: np.ndarray) -> None:
    images = np.concatenate([originals, *(copies(slices, change) for change in CHANGES)])
    truth = np.tile(np.arange(len(originals)), 1 + len(CHANGES))
    order = np.random.default_rng(0).permutation(len(images))
    found = find_groups(images[order], names(len(images)))
    share = pd.Series(found.group).groupby(truth[order]).agg(lambda group: group.value_counts().max() / len(group))
    assert share.mean() >= 0.97
    assert pd.Series(truth[order]).groupby(found.group).nunique().max() == 1


def test_crowds_of_siblings_do_not_hide_the_rest_of_the_family(slices: list[Image.Image]) -> None:
    rng = np.random.default_rng(0)
    images = []
    for image in slices[:8:2]:
        for _ in range(10):  # ten copies, each six times with a grain of noise: two neighbours never lead out of a six
            copy = small(CHANGES["all"](image, rng))
            images += [(copy.clip(0, 254) + rng.integers(0, 2, copy.shape)).astype(np.uint8) for _ in range(6)]
    found = find_groups(np.stack(images)[:, None], names(len(images)), neighbours=2)
    assert np.array_equal(found.group, np.repeat(np.arange(4), 60))


def test_what_lies_between_the_thresholds_is_evidence_but_joins_nothing(originals: np.ndarray) -> None:
    found = find_groups(originals, names(len(originals)), threshold=0.98, keep_links=0.6)
    assert len(found.links) > 5 and (found.links["value"] < 0.98).all()
    assert np.array_equal(found.group, np.arange(len(originals)))
    # Pairs inside a group need no comparison; where nothing joins, every candidate has to be compared.
    stronger = find_groups(originals, names(len(originals)), threshold=0.6, keep_links=0.6)
    assert found.compared > stronger.compared


def test_neighbouring_slices_and_other_heads_stay_apart(originals: np.ndarray) -> None:
    neighbours, _ = pair_correlation(originals[0::2], originals[1::2])
    strangers, _ = pair_correlation(originals[0:-24:2], originals[24::2])  # the same plane and class, other patients
    assert neighbours.max() < 0.98 and strangers.max() < 0.9
    assert np.median(neighbours) > np.median(strangers) + 0.2


def test_pair_correlation_is_symmetric_and_one_on_itself(originals: np.ndarray) -> None:
    value, flipped = pair_correlation(originals, originals)
    assert np.allclose(value, 1, atol=1e-3) and not flipped.any()
    rng = np.random.default_rng(0)
    other = originals[rng.permutation(len(originals))]
    one, two = pair_correlation(originals, other)[0], pair_correlation(other, originals)[0]
    copy = one > 0.9
    assert np.allclose(one[copy], two[copy], atol=0.02)
    assert (np.abs(one) <= 1 + 1e-5).all()


def test_equal_files_and_equal_pixels_are_links_of_value_one(originals: np.ndarray) -> None:
    images = np.concatenate([originals[:8], originals[:8], originals[:8]])
    sha = [*names(8), *names(8), *(f"other {i}" for i in range(8))]
    found = find_groups(images, sha)
    assert np.array_equal(found.group, np.tile(np.arange(8), 3))
    tests = found.links.set_index(["a", "b"])["test"]
    assert all(tests[i, i + 8] == "sha256" and tests[i, i + 16] == "pixels" for i in range(8))
    assert (found.links["value"] <= 1 + 1e-5).all() and (found.links["a"] < found.links["b"]).all()


def test_equal_files_are_copies_even_when_nothing_is_on_them() -> None:
    images = np.zeros((4, 1, SIDE, SIDE), dtype=np.uint8)
    images[3] += 7
    found = find_groups(images, ["a", "a", "b", "c"])
    assert found.group.tolist() == [0, 0, 0, 1]  # two blank pictures are equal; a blank grey one is like nothing


def test_a_lower_threshold_joins_more_and_keeps_the_same_links(
    slices: list[Image.Image], originals: np.ndarray
) -> None:
    n = len(originals)
    images = np.concatenate([originals, copies(slices, "all")])
    strict, loose = (find_groups(images, names(2 * n), threshold=t, keep_links=0.7) for t in (0.98, 0.7))
    assert loose.group.max() < strict.group.max()
    assert pd.Series(loose.group).groupby(strict.group).nunique().max() == 1
    assert (strict.links["value"] >= 0.7).all() and (strict.links["value"] < 0.98).any()


def test_the_result_does_not_depend_on_the_order_or_the_threads(
    slices: list[Image.Image], originals: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.concatenate([originals, copies(slices, "all")])
    n = len(images)

    def found_on(cores: int) -> Copies:
        for module in ("compute.chunks", "data.copies.candidates"):
            monkeypatch.setattr(f"brainssl_utils.{module}.available_cores", lambda: cores)
        return find_groups(images, names(n))

    first = found_on(1)
    assert np.array_equal(first.group, found_on(2).group)
    order = np.random.default_rng(1).permutation(n)
    again = find_groups(images[order], names(n)).group
    pairs = first.group[order]
    assert (pd.Series(again).groupby(pairs).nunique() == 1).mean() > 0.98


def test_hashes_are_imagehashs_and_mirror_with_the_image(originals: np.ndarray) -> None:
    import imagehash

    small32 = originals.reshape(-1, 32, 3, 32, 3).mean(axis=(2, 4)).astype(np.uint8)
    plain, _ = perceptual_hashes(small32)
    expected = [int(str(imagehash.phash(Image.fromarray(image))), 16) for image in small32]
    assert np.bitwise_count(plain ^ np.array(expected, dtype=np.uint64)).max() <= 2  # float32 against float64 medians
    _, mirrored = perceptual_hashes(originals)
    direct, _ = perceptual_hashes(originals[..., ::-1])
    assert np.bitwise_count(mirrored ^ direct).max() <= 2


def test_hash_pairs_bring_copies_together(slices: list[Image.Image], originals: np.ndarray) -> None:
    n = len(originals)
    for change, flipped in (("jpeg 30", False), ("flip", True)):
        pairs = hash_pairs(*perceptual_hashes(np.concatenate([originals, copies(slices, change)])))
        mine = (pairs.b - pairs.a == n) & (pairs.flipped == flipped)
        assert len(set(pairs.a[mine])) >= 0.9 * n
        assert (pairs.a < pairs.b).all()


def test_edge_histograms_mirror_with_the_image(originals: np.ndarray) -> None:
    shape = mirrored_shape(signatures(originals).shape).astype(np.float32)
    direct = signatures(originals[..., ::-1].copy()).shape.astype(np.float32)
    assert (shape * direct).sum(axis=1).min() > 0.99


def test_wrong_input_is_refused_with_what_was_expected(originals: np.ndarray) -> None:
    with pytest.raises(CourseError, match="need 96 sha256"):
        find_groups(originals, names(3))
    with pytest.raises(CourseError, match="keep_links <= threshold"):
        find_groups(originals, names(96), threshold=0.8)
    with pytest.raises(CourseError, match=r"must be \(N, 1, S, S\) uint8"):
        find_groups(originals.astype(np.float32), names(96))
    with pytest.raises(CourseError, match="at least 48"):
        find_groups(originals[:, :, ::3, ::3], names(96))
    with pytest.raises(CourseError, match="differ"):
        pair_correlation(originals[:3], originals[:4])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_images_are_no_problem(n: int, originals: np.ndarray) -> None:
    assert find_groups(originals[:n], names(n)).group.tolist() == list(range(n))


def make_corpus(groups: list[int], labels: list[int], sources: list[str]) -> Corpus:
    n = len(groups)
    table = pd.DataFrame(
        {
            "id": [f"{source}/{i}" for i, source in enumerate(sources)],
            "source": sources,
            "label": np.asarray(labels, dtype=np.int8),
            "class_name": [CLASSES[label] for label in labels],
        }
    )
    images = np.zeros((n, 1, 8, 8), dtype=np.uint8)
    copies = Copies(pd.DataFrame({"group": groups}), links_table())
    return Corpus(images, table, pd.DataFrame(), "f" * 64, "toy", copies)


def test_conflicts_are_listed_and_settled_by_policy() -> None:
    #         agree | 2 against 1 | a tie | alone
    corpus = make_corpus([0, 0, 1, 1, 1, 2, 2, 3], [1, 1, 0, 1, 0, 2, 3, 3], ["x"] * 8)
    conflicts = label_conflicts(corpus)
    assert conflicts["group"].tolist() == [1, 2]
    assert conflicts["rows"].tolist() == [[2, 3, 4], [5, 6]]
    assert conflicts["ids"][1] == ["x/5", "x/6"]
    assert conflicts["labels"][0] == ["glioma", "meningioma", "glioma"]
    assert resolve_conflicts(corpus) is corpus
    assert resolve_conflicts(corpus, "drop").table["id"].tolist() == ["x/0", "x/1", "x/7"]
    assert resolve_conflicts(corpus, "majority").table["id"].tolist() == ["x/0", "x/1", "x/2", "x/4", "x/7"]
    assert label_conflicts(resolve_conflicts(corpus, "majority")).empty
    with pytest.raises(CourseError, match="keep, drop, majority"):
        resolve_conflicts(corpus, "vote")


def test_the_overlap_table_counts_images_with_a_copy_elsewhere() -> None:
    # Group 0: two of x, one of y. Group 1: one of each of y, z. Group 2: two of z. Group 3: x alone.
    corpus = make_corpus([0, 0, 0, 1, 1, 2, 2, 3], [0] * 8, ["x", "x", "y", "y", "z", "z", "z", "x"])
    table = overlap_table(corpus)
    assert table.loc["x"].tolist() == [2, 2, 0]
    assert table.loc["y"].tolist() == [1, 0, 1]
    assert table.loc["z"].tolist() == [0, 1, 2]


def test_a_search_by_hash_finds_all_pairs_within_so_many_bits() -> None:
    hashes = [0, 1, 2**63, 0b1111, 0xFFFF0000]
    corpus = make_corpus([0, 0, 0, 1, 1], [0] * 5, ["x"] * 5)
    corpus = replace(corpus, files=corpus.files.assign(phash=[f"{value:016x}" for value in hashes]))
    found = hash_search(corpus, bits=(0, 1, 4, 64))
    assert found["pairs"].tolist() == [0, 2, 5, 10]
    assert found["in one group"].tolist() == [0, 2, 3, 4]
    assert found["images reached"].tolist() == [0, 3, 3, 5]
    assert found["images with a copy"].tolist() == [5] * 4


def test_the_phantoms_own_copies_are_their_groups(phantoms: Corpus) -> None:
    from brainssl_utils.data.phantoms.plan import plan_files

    group = phantoms.table.set_index("id")["group"]
    copied = [(file.path, file.copy_of.path) for file in plan_files(240, 0) if file.copy_of]
    assert np.mean([group[path] == group[origin] for path, origin in copied]) >= 0.95
    # Slices of one patient that are no copies, however near each other they were cut, stay apart.
    origin = {file.path: (file.copy_of or file).path for file in plan_files(240, 0)}
    assert (
        phantoms.table.assign(origin=phantoms.table["id"].map(origin)).groupby("group")["origin"].nunique().max() == 1
    )


def test_the_known_conflicts_of_the_archives_are_found(real_corpus: Corpus) -> None:
    pairs = [("image(2).jpg", "m1(123).jpg"), ("image(48).jpg", "m1(192).jpg")]
    prefix = "sartajbhuvaji/"
    listed = label_conflicts(real_corpus)["ids"].tolist()
    for glioma, meningioma in pairs:
        wanted = {f"{prefix}Testing/glioma_tumor/{glioma}", f"{prefix}Training/meningioma_tumor/{meningioma}"}
        assert any(wanted <= set(ids) for ids in listed)


def test_a_random_split_of_the_archives_leaks_and_a_grouped_one_does_not(real_corpus: Corpus) -> None:
    from brainssl_utils import grouped_split, leakage, paper_split

    leak = leakage(real_corpus, paper_split(real_corpus)).set_index(["threshold", "part"])["share"]
    assert leak[0.98, "either"] > 0.5 and leak[0.90, "either"] > leak[0.98, "either"]
    assert leakage(real_corpus, grouped_split(real_corpus), (0.98,))["with_copy"].max() == 0


def test_a_search_leaves_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    images = np.random.default_rng(0).integers(0, 255, (60, 1, 96, 96), dtype=np.uint8)
    try:
        torch.set_num_threads(1)
        find_groups(images, [str(row) for row in range(60)])
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
