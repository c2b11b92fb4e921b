"""The public archives the course knows: their names, layouts, published counts, and the rule that reads class folders."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

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
    folders: Collection[str] = ()
    file_pattern: str = ""
    parents: Collection[str] = ()

    @property
    def total(self) -> int:
        """Published number of images."""
        return sum(self.counts.values())


SOURCES: dict[str, Source] = {
    name: Source(name=name, **entry)
    for name, entry in tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8")).items()
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
        if not found <= set(source.folders) or (source.parents and above not in source.parents):
            continue
        fitting = sum(re.fullmatch(source.file_pattern, file) is not None for file in names)
        if names and fitting >= _RECOGNISED_SHARE * len(names):
            return name
    return None


def fits_counts(name: str, counts: Mapping[str, int]) -> bool:
    """Whether so many images a class can be (a part of) a known archive; a few may have been added by hand."""
    return all(n * _RECOGNISED_SHARE <= SOURCES[name].counts.get(title, 0) for title, n in counts.items())
