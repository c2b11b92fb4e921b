"""Is this result still valid? What each kind of result depends on, and why; every cache and record is keyed here.

What a key is made of, and why:

- decoded corpus (cache): the files listed, the size, Pillow's series, stage "reading". Files, code and decoder make pixels.
- copies (cache): the files' contents, stage "copies". Groups are found among these very pictures.
- training (record, checkpoint): method and settings, first weights, corpus, split, label rows, sizes, seed, the series of
  torch and Lightly, stage "training". They decide the numbers.
  An encoder or views of the user's own: import path, arguments, and their source without comments, since nobody raises a
  version for them; an encoder's layers and content too. What such code calls elsewhere is not looked at.
- evaluation (in the record): the training, the probe and its seed, scikit-learn's series, stage "evaluation". A changed
  probe reads the same weights anew.
- lesson (executed notebook): its code, parameters and data, all stages, the lessons it needs. Text, comments and layout
  leave results as they are.

Nothing else makes a result stale: no docstring, comment, plot or unrelated module, no number of threads, no other machine
(rounding differs between processors; which one it was is in the record). The price is a duty: **who changes a stage so
that its numbers change raises its version below.** `tests/test_validity.py` keeps a few numbers of each stage and fails
where they change and the version does not.
"""

from __future__ import annotations

import ast
import hashlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

VERSIONS = {"reading": 3, "copies": 3, "training": 2, "evaluation": 2}
"""The stages' versions. Raised by hand when the numbers that a stage makes of the same input change."""


def digest(*parts: Any) -> str:
    """Hash plain values (numbers, text, lists, dicts, None) and arrays into 16 hex digits.

    Arrays count with type, shape and content; dicts whatever the order of their keys; tuples as lists.

    Raises:
        TypeError: a part is none of these: what has no plain value cannot be part of a key.
    """
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).tobytes())
        else:
            found.update(json.dumps(part, sort_keys=True).encode())
        found.update(b"|")
    return found.hexdigest()[:16]


def series(*packages: str) -> dict[str, str]:
    """Return the release series ("2.14" of 2.14.1) of installed packages: a patch release keeps its numbers."""
    found = {}
    for package in packages:
        try:
            found[package] = ".".join(version(package).split(".")[:2])
        except PackageNotFoundError:
            continue
    return found


def reading_key(listing: str, name: str, image_size: int) -> str:
    """Key of a decoded corpus; `listing` is the digest of the files found (`Listing.key`)."""
    return digest("reading", VERSIONS["reading"], series("pillow"), listing, name, image_size)


def copies_key(sha256: Sequence[str]) -> str:
    """Key of the copies found among files of these contents, in this order."""
    return digest("copies", VERSIONS["copies"], list(sha256))


def corpus_fingerprint(rows: Sequence[Sequence[str]], image_size: int) -> str:
    """Fingerprint of a corpus, 64 hex digits: of each image's id, class name and content, wherever the files lie.

    Content is a file's SHA-256, or, of files that the course makes itself, what they were made of.
    Ids may hold bytes that are no text (`surrogateescape`), so they are hashed as they are on disk.
    """
    lines = sorted(" ".join(row) for row in rows)
    text = "\n".join([f"reading {VERSIONS['reading']}, {image_size} px", *lines])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def training_parts(
    method: Mapping[str, Any],
    first_weights: str,
    corpus: str,
    rows: Mapping[str, np.ndarray],
    sizes: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """What decides the numbers of a training, by name; the record keeps it, so that a difference can be named.

    Args:
        method: name, protocol and every setting.
        first_weights: "seed N", or a digest of the weights where no seed is known.
        corpus: its fingerprint.
        rows: row numbers by part, the labelled ones as "labels".
        sizes: of the profile; its name does not count.
        seed: of batches and views.
    """
    return {
        **{f"method.{name}": value for name, value in method.items()},
        "first weights": first_weights,
        "corpus": corpus,
        **{f"rows.{name}": digest(np.asarray(part, dtype=np.int64)) for name, part in rows.items()},
        **{f"sizes.{name}": value for name, value in sizes.items() if name != "name"},
        "seed": seed,
        **{f"library {name}": found for name, found in series("torch", "lightly").items()},
        "stage version": VERSIONS["training"],
    }


def training_key(parts: Mapping[str, Any]) -> str:
    """Key of a training, of `training_parts`."""
    return digest("training", dict(parts))


def evaluation_key(training: str, kind: str, seed: int) -> str:
    """Key of one reading of a training's features by a probe."""
    return digest("evaluation", VERSIONS["evaluation"], series("scikit-learn", "lightly"), training, kind, seed)


def lesson_key(code: Sequence[str], parameters: Mapping[str, Any], data: str, needs: Mapping[str, str]) -> str:
    """Key of an executed lesson.

    Args:
        code: sources of its code cells; comments and layout in them do not count.
        parameters: handed to it, the run's folder aside (a run that is moved stays a finished run).
        data: digest of what lies at `data`.
        needs: keys of the lessons whose records it reads.
    """
    return digest("lesson", VERSIONS, [_meaning(cell) for cell in code], dict(parameters), data, dict(needs))


def code_key(*sources: str) -> str:
    """Key of functions and classes by their sources; comments, layout and docstrings do not count."""
    return digest("code", [_meaning(textwrap.dedent(source), docstrings=False) for source in sources])


def _meaning(source: str, docstrings: bool = True) -> str:
    """A cell's code without comments and layout; as it is where it holds more than Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not docstrings:
            node.body = node.body[ast.get_docstring(node) is not None :]
    return ast.dump(tree)
