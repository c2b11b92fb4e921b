"""Files that are no pictures: which kinds are worth a word, and how that word is said."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from importlib.util import find_spec

from brainssl_utils.data.reading.archives import Entry, Listing, Problem, Unreadable, first_bytes, open_place

_IMAGE = re.compile(r"\.(jpe?g|jpe|jfif|png|bmp|dib|gif|tiff?|webp|p[gpn]m|jp2|j2k)(#\d+)?$", re.IGNORECASE)
_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_DICOM = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)
_NO_PICTURES = {"readme", "license", "licence", "copying", "makefile", "dicomdir", "changelog"}
_TABLES_IN_USE = {"manifest.csv", "metadata.csv", "metadata.jsonl", "metadata.parquet"}  # read by themselves
_KINDS = (  # ending, what it is, what to do
    (r"\.nii(\.gz)?$", "NIfTI volume", "install nibabel (the extra `medical`) to read slices of it"),
    (r"\.(dcm|dicom|ima)$", "DICOM file", "install pydicom (the extra `medical`) to read it"),
    (r"\.(mha|mhd|nrrd|mgz|mgh|mgh\.gz|minc|mnc)$", "volume", "export slices as PNG, or convert it to NIfTI"),
    (r"\.(csv|tsv|jsonl|xlsx?)$", "table", 'if it holds labels or patients, give its name by table="..." (--table)'),
    (
        r"\.parquet$",
        "Parquet file",
        'if it holds labels, give its name by table="..." (--table); pictures inside are not read',
    ),
    (r"\.tfrecords?$", "TFRecord file", "export its pictures as PNG"),
    (r"\.(h5|hdf5|npy|npz|mat|pkl|pickle|pt|pth)$", "file of arrays", "export its pictures as PNG"),
)


def is_volume(entry: Entry) -> bool:
    """Whether a file is a NIfTI volume by its name."""
    return _NIFTI.search(entry.name) is not None


def is_dicom(entry: Entry) -> bool:
    """Whether a file is a DICOM file by its name."""
    return _DICOM.search(entry.name) is not None


def is_picture(entry: Entry) -> bool:
    """Whether a file is to be read as a picture, by its name; in a folder, names without an ending are, too."""
    if _IMAGE.search(entry.name):
        return True
    if is_volume(entry):
        return find_spec("nibabel") is not None
    if is_dicom(entry):
        return find_spec("pydicom") is not None
    return "." not in entry.name and bool(entry.folders) and entry.name.lower() not in _NO_PICTURES


def zips_without_ending(listing: Listing, entries: Iterable[Entry]) -> set[Entry]:
    """Those of the files without an ending that begin as a zip does."""
    places = defaultdict(list)
    for entry in entries:
        if "." not in entry.name:
            places[entry.place].append(entry)
    found: set[Entry] = set()
    for place, members in places.items():
        try:
            with open_place(listing.root, place) as opened:
                found |= {entry for entry in members if first_bytes(opened, entry, 4) == b"PK\x03\x04"}
        except Unreadable:  # said when the files themselves are read
            continue
    return found


def remarks(listing: Listing, entries: Iterable[Entry], zips: set[Entry]) -> list[Problem]:
    """A row a folder and kind of file: how many are left out, and what to do."""
    found: dict[tuple[str, str, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        folder = "/".join(entry.folders)
        if entry in zips:
            found[entry.place, folder, "zip without an ending", "rename it so that it ends in .zip"].append(entry)
            continue
        for _, kind, advice in _told(entry):
            found[entry.place, folder, kind, advice].append(entry)
    rows = []
    for (place, folder, kind, advice), members in found.items():
        n = len(members)
        count = f"1 {kind} is" if n == 1 else f"{n} {_plural(kind)} are"
        shown = members[0].name if n == 1 else f"{members[0].name}, ..."
        path = f"{folder}/{shown}" if folder else shown
        rows.append(Problem(place or listing.name, path, f"{count} not read: {advice}", "skipped"))
    return rows


def is_told(entry: Entry) -> bool:
    """Whether a file is of a kind that `remarks` names."""
    return bool(_told(entry))


def _told(entry: Entry) -> list[tuple[str, str, str]]:
    """The kind of a file, none or one."""
    if entry.name.lower() in _TABLES_IN_USE:
        return []
    return [kind for kind in _KINDS if re.search(kind[0], entry.name, re.IGNORECASE)][:1]


def _plural(kind: str) -> str:
    head, _, tail = kind.partition(" ")
    return f"{head}s {tail}" if head in ("file", "zip") else f"{kind}s"
