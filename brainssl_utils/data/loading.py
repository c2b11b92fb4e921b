"""Loading a corpus: where the files lie, what the cache already holds, and the search for copies when it is asked for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainssl_utils.checks import check_number
from brainssl_utils.compute.machine import available_cores
from brainssl_utils.data.corpus import Copies, Corpus
from brainssl_utils.data.description import describe
from brainssl_utils.data.phantoms.word import phantom_files
from brainssl_utils.data.reading import cache as store
from brainssl_utils.data.reading.archives import Listing, Problem, as_text, expand, scan
from brainssl_utils.data.reading.classes import Wanted
from brainssl_utils.data.reading.tables import table_bytes
from brainssl_utils.errors import CourseError
from brainssl_utils.files import check_writable, hold
from brainssl_utils.showing import silent
from brainssl_utils.validity import copies_key, corpus_fingerprint, digest, reading_key

_COPIES_SIZE = 96  # px at which copies are looked for, so that groups do not depend on the size asked for


def load_corpus(
    data: str | Path = "phantoms",
    image_size: int = 96,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    threads: int | None = None,
    table: str | Path | Mapping[str, str] | None = None,
    classes: Wanted = None,
    every: int = 0,
) -> Corpus:
    """Load images into one corpus; the first load decodes every file once, later ones read the cache.

    Copies among the images are looked for when `Corpus.table` or `Corpus.links` is first used, and kept in the cache too.

    Args:
        data: "phantoms" (3000 synthetic files, made on first use), "phantoms:N" (about N), a folder that holds archives
            (zipped or unpacked, at any depth), class folders or images without a class, one zip, or a file that names
            such a place with `table`, `classes` and `every` (.toml, see `data.description`).
        image_size: side S of the square images in px, 16..1024.
        cache_dir: folder of the cache; by default $BRAINSSL_CACHE or ~/.cache/brainssl.
        progress: show a bar during the first load, and say when copies are looked for.
        threads: how many files are decoded side by side; by default one a core.
        table: file of labels and patients, e.g. "labels.csv"; {"table": "labels.csv", "file": "scan", "label": "dx"} where
            its columns are not called as usual (see `reading.tables`). A `metadata.csv` with `file_name` is found by itself.
        classes: which folders are classes, where the rule (see `reading.classes`) does not find them: {"yes": "tumor",
            "no": "no_tumor"}, a list of folder names, or a depth (1: the folders at the top, -1: those with the images).
        every: take every so many-th slice of a volume (NIfTI, DICOM); 0 takes the middle one alone.

    Returns:
        The corpus. What could not be read, or looks odd, is in `Corpus.problems`, a row a file. Patients are known from
        `table`, headers, BIDS names ("sub-012") and folders called after them ("patient_03", "case 7").

    Raises:
        CourseError: no such folder, not one readable image in it, or a parameter that is out of range or fits no file.
    """
    check_number("image_size", image_size, at_least=16, at_most=1024, whole=True)
    threads = available_cores() if threads is None else threads
    check_number("threads", threads, at_least=1, whole=True)
    images = describe(data, table, classes, every)
    n_phantoms = phantom_files(images.place)
    cache = check_writable(store.cache_folder(cache_dir))
    store.clear_leftovers(cache)
    place, made_as = _phantoms(n_phantoms, cache, progress) if n_phantoms else (images.place, "")
    listing = scan(place)
    name = "phantoms" if n_phantoms else as_text(listing.name)
    corpus = _Loader(listing, name, cache, threads, progress, images.choices, made_as).corpus(image_size)
    left_out = corpus.problems["action"].eq("skipped").any() or corpus.labels.min(initial=0) < 0
    if progress and left_out:
        print(_counts(corpus))
    return corpus


def _counts(corpus: Corpus) -> str:
    """One line: what was loaded and what was left out."""
    labelled = corpus.labels >= 0
    parts = [f"{len(corpus)} images of {len(np.unique(corpus.labels[labelled]))} classes"]
    if not labelled.all():
        parts.append(f"{int((~labelled).sum())} of them without a class")
    skipped = corpus.problems[corpus.problems["action"] == "skipped"]
    if len(skipped):
        parts.append(f"left out, see Corpus.problems: {len(skipped)} remarks, first {skipped['reason'].iloc[0]}")
    return f"{corpus.name}: {'; '.join(parts)}"


def _phantoms(n_files: int, cache: Path, progress: bool) -> tuple[Path, str]:
    """Where the phantoms lie, made if need be, and what they are made of."""
    from brainssl_utils.data.phantoms import write

    made_as = f"phantoms-{n_files}-v{write.VERSION}"
    folder = cache / made_as
    say = print if progress else silent
    waits = f"another process makes {n_files} phantoms in {folder}; this one waits until that is done"
    lock = cache / ".locks" / f"{made_as}.lock"
    with contextlib.nullcontext() if folder.exists() else hold(lock, lambda: say(waits)):
        if not folder.exists():
            say(f"making {n_files} phantoms, once, in {folder}")
        return write.write_phantoms(folder, n_files=n_files, seed=0), made_as


@dataclass(frozen=True)
class _Loader:
    """Makes a corpus of a listing, by way of the cache; `made_as` says what the course itself made the files of, if it did."""

    listing: Listing
    name: str
    cache: Path
    threads: int
    progress: bool
    choices: Mapping[str, Any]
    made_as: str = ""

    def corpus(self, size: int) -> Corpus:
        """The images at `size`, out of the cache or out of their files, without a search for copies."""
        table = table_bytes(self.choices["table"])
        classes = self.choices["classes"]
        plain = classes if isinstance(classes, Mapping | int) or classes is None else sorted(map(str, classes))
        files = digest(self.listing.key(), {**self.choices, "classes": plain}, table.decode("latin-1"))
        folder = self.cache / "corpora" / reading_key(files, self.name, size)
        parts = store.load(folder)
        if parts is None:
            parts = self._decode(size)
            store.save(folder, parts)
        files, parts["classes"] = parts["files"], tuple(parts["classes"])
        # Processors differ in the last digit of a phantom's grey levels, and so in its file: the same phantoms everywhere
        # are those made of the same plan, or a training on one machine would have another key on the next.
        contents = [self.made_as] * len(files) if self.made_as else files["sha256"]
        fingerprint = corpus_fingerprint(list(zip(files["id"], files["class_name"], contents)), size)
        copies = functools.partial(self._copies, files["sha256"].tolist(), parts["images"])
        return Corpus(**parts, fingerprint=fingerprint, name=self.name, copies=copies)

    def _decode(self, size: int) -> dict[str, Any]:
        """Decode every file, into the parts of a cached corpus."""
        from brainssl_utils.data.reading.gather import gather
        from brainssl_utils.data.reading.ingest import ingest

        expand(self.listing)
        gathered = gather(self.listing, **self.choices)
        problems: list[Problem] = [*self.listing.problems, *gathered.problems]
        images, files = ingest(self.listing, gathered, size, self.threads, self.progress, problems)
        if files.empty:
            reasons = "; ".join(f"{p.path}: {p.reason}" for p in problems[:3])
            raise CourseError(f"data: not one image in {self.listing.root} could be read. {reasons}")
        remarks = pd.DataFrame([map(as_text, p) for p in problems], columns=list(Problem._fields)).astype("str")
        return {"images": images, "files": files, "problems": remarks, "classes": list(map(as_text, gathered.classes))}

    def _copies(self, sha256: list[str], images: np.ndarray) -> Copies:
        """Search for copies, unless the cache tells what a search among these very files found."""
        folder = self.cache / "copies" / copies_key(sha256)
        found = store.load(folder)
        if found is None:
            from brainssl_utils.data.copies.search import find_groups

            if self.progress:
                print(f"looking for copies among {len(sha256)} images, once")
            if images.shape[-1] != _COPIES_SIZE:
                images = self.corpus(_COPIES_SIZE).images
            copies = find_groups(images, sha256)
            found = {"marks": copies.marks, "links": copies.links}
            store.save(folder, found)
        return Copies(**found)
