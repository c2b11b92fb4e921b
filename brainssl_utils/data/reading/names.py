"""Names of folders, files and classes by one rule: which spellings are one name, and which words name no class."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_DROPPED = {"Pc", "Ps", "Pe", "Pi", "Pf"}  # underscores, brackets, quotation marks; signs such as + and - stay


def _folded(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PARTS = _folded("train training trainset test testing testset val valid validation valset dev eval evaluation")
_INNER = _folded("data dataset images imgs")
_HOLDERS = _folded(
    "data dataset datasets image images imgs img picture pictures slices scans files png jpg jpeg raw all labeled labelled "
    "annotated labeleddata labelleddata aveclabel aveclabels withlabel withlabels"
)
_UNLABELLED = _folded(
    "unlabeled unlabelled unlabeleddata unlabelleddata unlabel nolabel nolabels withoutlabel withoutlabels sanslabel "
    "sanslabels ohnelabel ohnelabels sinetiqueta sinetiquetas nonlabeled nonlabelled unannotated unsupervised pool "
    "unclassified unsorted"
)
_MASKS = _folded(
    "mask masks segmentation segmentations seg segs pred preds prediction predictions groundtruth groundtruths gt labels "
    "annotation annotations contour contours tumormask tumormasks"
)
_PLANES = _folded("axial coronal sagittal ax cor sag transversal transverse")
_FINDINGS = _folded(
    "yes no positive negative pos neg tumor tumors notumor nontumor normal abnormal healthy benign malignant cancer "
    "disease diseased control controls"
)
_MASK_FILE = re.compile(r"[ _\-.](mask|seg|segmentation|gt)([ _\-]?\d+)?\.[a-z0-9]+(#\d+)?$", re.IGNORECASE)
# What a patient's or a series' folder is called: it ends in a number, whatever words stand before it.
_NUMBERED = re.compile(r".*\d[a-z]?", re.IGNORECASE)
# A person's: "sub-012" of BIDS, in file names too; folders such as "patient_03", "Subject 7", "case12".
_SUBJECT = re.compile(r"(?:^|[/_])(sub-[A-Za-z0-9]+)")
_PERSON = re.compile(r"(?:patient|subject|case|pat|pt)s?[ _\-]?(?:id)?[ _\-]?[a-z]{0,4}[ _\-]?\d+", re.IGNORECASE)


@lru_cache(maxsize=65536)
def fold_name(name: str) -> str:
    """Reduce a name so that two spellings of it become equal: "No-Tumour" and "no_tumor" -> "notumor".

    Unicode is composed (NFC), case, spaces, underscores, dots, brackets and hyphens between words go, "tumour" is read as
    "tumor". Signs stay ("T1" and "T1+" are two names), and so does what parts two numbers ("1.5" is not "15").
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    text = text.replace("i\u0307", "i").replace("\u0131", "i")  # Turkish capitals lose their dots in other programs
    text = "".join("-" if unicodedata.category(c) == "Pd" else c for c in text)
    text = re.sub(r"(?<=\d)[\s_.,\-]+(?=\d)", "\u2016", text)
    text = re.sub(r"(?<![^\W_])-(?=\d)", "\u2212", text)
    text = "".join(
        c for c in text if not (c.isspace() or unicodedata.category(c) in _DROPPED or c in ".,;:&\"'") or c == "\u2016"
    )
    return re.sub(r"(?<=[^\W_])-+(?=[^\W_])", "", text).replace("tumour", "tumor")


def shown_name(name: str) -> str:
    """A class name as it is shown: composed (NFC), without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in the order of their labels: by name, numbers by value."""
    found = set(names)
    by_value = all(re.fullmatch(r"\d{1,9}", name) for name in found)
    return tuple(sorted(found, key=lambda name: (int(name) if by_value else 0, name)))


def patient_in_path(path: str) -> str:
    """The patient that a path names, "" elsewhere: a BIDS subject, or the lowest folder called after one ("patient_03")."""
    if found := _SUBJECT.search(path):
        return found[1]
    return next((folder for folder in reversed(path.split("/")[:-1]) if _PERSON.fullmatch(folder)), "")


def is_part(folder: str) -> bool:
    """Whether a folder holds a part of a split ("Training", "fold 2")."""
    folded = fold_name(folder)
    return folded in _PARTS or re.fullmatch(r"(fold|split)\d+", folded) is not None


def is_inner(folder: str) -> bool:
    """Whether a folder stands between an archive's top and its class folders ("Data", "Training")."""
    return is_part(folder) or fold_name(folder) in _INNER


def is_holder(folder: str) -> bool:
    """Whether a folder holds pictures or folders without naming anything ("train", "images", "labelled")."""
    return is_part(folder) or fold_name(folder) in _HOLDERS


def says_unlabelled(folder: str) -> bool:
    """Whether a folder says of its pictures that nobody has labelled them ("unlabeled", "pool")."""
    return fold_name(folder) in _UNLABELLED


def is_mask(folders: Iterable[str], file: str = "") -> bool:
    """Whether a picture is a mask or a prediction rather than a scan, by its folders or the end of its name."""
    return _MASK_FILE.search(file) is not None or any(fold_name(folder) in _MASKS for folder in folders)


def is_plane(folder: str) -> bool:
    """Whether a folder names the plane of its slices."""
    return fold_name(folder) in _PLANES


def is_finding(folder: str) -> bool:
    """Whether a folder names a finding ("yes", "normal", "malignant")."""
    return fold_name(folder) in _FINDINGS


def is_numbered(folder: str) -> bool:
    """Whether a folder is called as one patient's or one series' is: "17", "patient_03", "BraTS20_Training_001"."""
    return _NUMBERED.fullmatch(folder.strip()) is not None
