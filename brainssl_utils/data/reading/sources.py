"""The public archives the course knows: their names, layouts, published counts, and the rule that reads class folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from brainssl_utils.data.reading.names import fold_name

CLASSES: tuple[str, ...] = ("glioma", "meningioma", "no_tumor", "pituitary")

# Spellings of the four classes once case and separators are gone; "tumour" is read as "tumor" first.
_SPELLINGS: dict[str, str] = {
    spelling: name
    for name, spellings in {
        "glioma": "glioma gliomas gliomatumor gliomatumors",
        "meningioma": "meningioma meningiomas meningiomatumor meningiomatumors",
        "pituitary": "pituitary pituitarytumor pituitarytumors pituitaryadenoma",
        "no_tumor": "notumor notumors nontumor withouttumor normal healthy",
    }.items()
    for spelling in spellings.split()
}


@dataclass(frozen=True)
class Source:
    """What is known of one public archive.

    Attributes:
        name: short name, used in `Corpus.table["source"]`.
        url: its web page.
        licence: as its page states it, "not verified" where nobody could.
        counts: published number of images a class.
        handle: Kaggle's "owner/name", empty elsewhere.
        folders: spellings of its class folders, all of which must be among these.
        file_pattern: regular expression of its file names.
        parents: folder names one of which stands above the class folders; empty if any may.
    """

    name: str
    url: str
    licence: str
    counts: Mapping[str, int]
    handle: str = ""
    folders: frozenset[str] = field(default_factory=frozenset)
    file_pattern: str = ""
    parents: frozenset[str] = field(default_factory=frozenset)

    @property
    def total(self) -> int:
        """Published number of images."""
        return sum(self.counts.values())


def _kaggle(name: str, slug: str, licence: str, counts: tuple[int, int, int, int], **layout: object) -> Source:
    return Source(
        name=name,
        url=f"https://www.kaggle.com/datasets/{name}/{slug}",
        licence=licence,
        counts=dict(zip(CLASSES, counts)),
        handle=f"{name}/{slug}",
        **layout,  # type: ignore[arg-type]
    )


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        _kaggle(
            "shreyag1103",
            "brain-mri-scans-for-brain-tumor-classification",
            "CC0 (stated for masoudnickparvar/brain-tumor-mri-dataset, whose Testing part it equals)",
            (300, 306, 405, 300),
            folders=frozenset({"glioma", "meningioma", "notumor", "pituitary"}),
            file_pattern=r"te-(gl|me|no|pi)(tr)?_\d+\.jpe?g",
        ),
        _kaggle(
            "sartajbhuvaji",
            "brain-tumor-classification-mri",
            "MIT",
            (926, 937, 500, 901),
            folders=frozenset({"gliomatumor", "meningiomatumor", "notumor", "pituitarytumor"}),
            # Eight of its files are plain numbers; so are the files of many a set of somebody's own, which is not this one.
            file_pattern=r"(image|gg|m1?|p) ?(\(\d+\))?\.jpe?g",
            parents=frozenset({"training", "testing"}),
        ),
        _kaggle(
            "thomasdubail",
            "brain-tumors-256x256",
            "not verified",
            (901, 913, 438, 844),
            folders=frozenset({"gliomatumor", "meningiomatumor", "normal", "pituitarytumor"}),
            file_pattern=r"[gmnp]_\d+\.jpe?g",
        ),
        Source(
            name="brain-tumor-mri-dataset",
            url="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
            licence="CC0",
            counts=dict(zip(CLASSES, (1621, 1645, 2000, 1757))),
            handle="masoudnickparvar/brain-tumor-mri-dataset",
            folders=frozenset({"glioma", "meningioma", "notumor", "pituitary"}),
            file_pattern=r"t[er]-(gl|me|no|pi)(tr)?_\d+\.jpe?g",
            parents=frozenset({"training", "testing"}),
        ),
        Source(
            name="figshare",
            url="https://figshare.com/articles/dataset/brain_tumor_dataset/1512427",
            licence="CC BY 4.0",
            counts={"glioma": 1426, "meningioma": 708, "pituitary": 930},
            file_pattern=r"\d+\.mat",
        ),
    )
}
PAPER_SOURCES = ("shreyag1103", "sartajbhuvaji", "thomasdubail")
# A fifth of the files may have other names (added by hand) before a layout is no longer called by its name.
_RECOGNISED_SHARE = 0.8


@lru_cache(maxsize=4096)
def class_of(folder: str) -> str | None:
    """Return the class a folder name stands for, one of `CLASSES`, or None for a name nobody knows.

    Case and separators do not matter: "notumor", "no_tumor", "No Tumor" and "normal" are all "no_tumor".
    """
    return _SPELLINGS.get(fold_name(folder))


def recognise(folders: Iterable[str], files: Iterable[str], parent: str = "") -> str | None:
    """Name the Kaggle archive a set of class folders comes from, or None if it is none of them.

    Args:
        folders: the class folders' own names, e.g. {"glioma_tumor", "normal"}; a sibling that the archive does not have
            makes it another one.
        files: the names of the files in them, without folders.
        parent: the folder directly above the class folders ("Training", "Data", "" at the top).
    """
    found, names = {fold_name(folder) for folder in folders}, [name.lower() for name in files]
    above = fold_name(parent)
    # The set of 7,023 comes first: one of the paper's archives is its Testing part, without that folder.
    for name in ("brain-tumor-mri-dataset", *PAPER_SOURCES):
        source = SOURCES[name]
        if not found <= source.folders or (source.parents and above not in source.parents):
            continue
        fitting = sum(re.fullmatch(source.file_pattern, file) is not None for file in names)
        if names and fitting >= _RECOGNISED_SHARE * len(names):
            return name
    return None


def fits_counts(name: str, counts: Mapping[str, int]) -> bool:
    """Whether so many images a class can be (a part of) a known archive; a few may have been added by hand."""
    return all(n * _RECOGNISED_SHARE <= SOURCES[name].counts.get(title, 0) for title, n in counts.items())
