"""The public archives the course knows: their names, layouts, published counts, and the rule that reads class folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

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
        title: what the publisher calls it.
        url: its web page.
        licence: as its page states it, "not verified" where nobody could.
        counts: published number of images a class.
        handle: Kaggle's "owner/name", empty elsewhere.
        folders: spellings of its class folders, all of which must be among these.
        file_pattern: regular expression of its file names.
        parents: folder names one of which stands above the class folders; empty if any may.
    """

    name: str
    title: str
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
        title=slug,
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
            file_pattern=r"((image|gg|m1?|p) ?(\(\d+\))?|\d+)\.jpe?g",
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
            name="figshare",
            title="brain tumor dataset (Jun Cheng)",
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
def fold_name(name: str) -> str:
    """Reduce a folder name to lower-case letters and digits, "tumour" read as "tumor": "No-Tumour" -> "notumor"."""
    return re.sub(r"[\W_]+", "", name.lower()).replace("tumour", "tumor")


@lru_cache(maxsize=4096)
def class_of(folder: str) -> str | None:
    """Return the class a folder name stands for, one of `CLASSES`, or None for a name nobody knows.

    Case and separators do not matter: "notumor", "no_tumor", "No Tumor" and "normal" are all "no_tumor".
    """
    return _SPELLINGS.get(fold_name(folder))


def recognise(folders: Iterable[str], files: Iterable[str], parent: str = "") -> str | None:
    """Name the Kaggle archive a set of class folders comes from, or None if it is none of them.

    Args:
        folders: the class folders' own names, e.g. {"glioma_tumor", "normal"}.
        files: the names of the files in them, without folders.
        parent: the folder directly above the class folders ("Training", "Data", "" at the top).
    """
    found, names = {fold_name(folder) for folder in folders}, [name.lower() for name in files]
    for name in PAPER_SOURCES:
        source = SOURCES[name]
        if not found <= source.folders or (source.parents and fold_name(parent) not in source.parents):
            continue
        fitting = sum(re.fullmatch(source.file_pattern, file) is not None for file in names)
        if names and fitting >= _RECOGNISED_SHARE * len(names):
            return name
    return None
