"""What is left after trouble: kill -9, two runs in one folder, a full disk. Do the same records stand there afterwards?

Each row of the table is one trouble in an empty folder, followed by the same command once more; what then stands in the
folder's records must be what a run without trouble writes, seconds and dates aside. About ten minutes on two idle
cores. A full disk is a small one in memory, which only root on Linux may make. Writes interruptions.md; ends with 1 if
a row differs.

    python benchmarks/interruptions.py --moments 10 --lessons 4
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from throughput import describe_machine

from brainssl_utils.files import atomic_path

CHANGING = {"seconds", "commit", "throughput", "device", "taken_up_at_epochs"}
FREE = (0, 60, 1600)  # KiB that the full disk has left: too few for the first file, for a notebook, for a checkpoint
LOAD = """
import hashlib, sys
from brainssl_utils import load_corpus
from brainssl_utils.errors import exit_code
from brainssl_utils.files import write_json

def load(data, out):
    corpus = load_corpus(data, cache_dir=out + "/cache", progress=False)
    found = [corpus.images.tobytes(), corpus.table.to_csv().encode(), corpus.problems.to_csv().encode()]
    write_json(out + "/records/load.json", [corpus.fingerprint, *(hashlib.sha256(part).hexdigest() for part in found)])

sys.exit(exit_code(lambda: load(*sys.argv[1:])))
"""


@dataclass(frozen=True)
class Work:
    """A command that fills a folder, and is given again after trouble.

    Attributes:
        name: how the table calls it.
        words: the command; "{out}" in it stands for the folder.
        refuses: a second one into the same folder is to be refused; else it waits.
    """

    name: str
    words: tuple[str, ...]
    refuses: bool = False

    def command(self, out: Path) -> list[str]:
        return [sys.executable, *(word.replace("{out}", str(out)) for word in self.words)]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    trouble: str
    said: str
    same: bool


def course(lessons: str, data: str, notebooks: Path | None = None) -> Work:
    """The course's smoke run of these lessons."""
    own = () if notebooks is None else ("--notebooks", str(notebooks))
    options = ("--profile", "smoke", "--data", data, "--only", lessons, "--out", "{out}", *own)
    return Work("course", ("-m", "brainssl_utils.cli", "course", *options), refuses=True)


def training(data: str) -> Work:
    """A smoke training of SimCLR."""
    options = ("simclr", "--profile", "smoke", "--data", data, "--out", "{out}")
    return Work("train", ("-m", "brainssl_utils.cli", "train", *options))


def load(data: str) -> Work:
    """A first load of a corpus, with the search for copies."""
    return Work("load", ("-c", LOAD, data, "{out}"))


def start(work: Work, out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(work.command(out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(work: Work, out: Path) -> None:
    """Do the work to its end.

    Raises:
        RuntimeError: it ended with an error, with all that it said.
    """
    process = start(work, out)
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{work.name} into {out} ended with {process.returncode}:\n{said}")


def state(out: Path) -> dict[str, Any]:
    """What counts of a folder: its records without what changes from run to run, how lessons ended, and leftovers."""
    found: dict[str, Any] = {path.name: _lasting(json.loads(path.read_text())) for path in out.glob("records/*.json")}
    if (out / "run.json").exists():
        lessons = json.loads((out / "run.json").read_text())["notebooks"]
        found["lessons"] = {name: entry["status"] for name, entry in lessons.items()}
        found["executed"] = sorted(path.name for path in (out / "notebooks").iterdir())
    found["leftovers"] = sorted(path.name for path in out.rglob(".*.tmp"))
    return found


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lasting(part) for name, part in value.items() if name not in CHANGING}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def killed(work: Work, folder: Path, whole: dict[str, Any], moments: Sequence[float]) -> Iterator[Row]:
    """Kill the work at each of these moments (seconds after its start), then do it to its end."""
    for number, moment in enumerate(moments):
        out = folder / f"{work.name}-killed-{number}"
        process = start(work, out)
        try:
            process.wait(timeout=moment)
            said = "had ended"
        except subprocess.TimeoutExpired:
            process.kill()
            said = "killed"
        process.communicate()
        finish(work, out)
        yield Row(work.name, f"kill -9 after {moment:.1f} s", said, state(out) == whole)


def doubled(work: Work, folder: Path, whole: dict[str, Any]) -> Row:
    """Start the work twice at once in one folder, then do it once more."""
    out = folder / f"{work.name}-twice"
    both = [start(work, out), start(work, out)]
    said = [process.communicate()[0] for process in both]
    codes = sorted(process.returncode for process in both)
    as_told = codes == ([0, 2] if work.refuses else [0, 0]) and not any("Traceback" in text for text in said)
    finish(work, out)
    return Row(work.name, "two at once", f"exit codes {codes}", as_told and state(out) == whole)


def filled(work: Work, disk: Path, whole: dict[str, Any], free: int) -> Row:
    """Do the work on a disk with `free` KiB left, which must be told in one line; then make room and do it again."""
    out, filler = disk / f"{work.name}-{free}", disk / "filler"
    status = os.statvfs(disk)
    filler.write_bytes(bytes(max(status.f_bavail * status.f_frsize - free * 1024, 0)))
    process = start(work, out)
    text, _ = process.communicate()
    lines = [line for line in text.splitlines() if "no space left on device" in line.lower()]
    told = "Traceback" not in text and len(lines) == 1 and str(out) in lines[0]
    filler.unlink()
    finish(work, out)
    fitting = process.returncode == 0
    said = "it had room" if fitting else "one line with the path" if told else f"{len(lines)} lines: {text[-300:]!r}"
    row = Row(work.name, f"{free} KiB left on the disk", said, (fitting or told) and state(out) == whole)
    subprocess.run(["rm", "-rf", str(out)], check=True)
    return row


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """Mount a disk of this size in memory at `folder`; None where that is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def all_rows(works: Sequence[Work], folder: Path, moments: int, free: Sequence[int], seed: int) -> Iterator[Row]:
    """Bring every trouble on every work."""
    chance = random.Random(seed)
    with small_disk(folder / "disk", 96) as disk:
        for work in works:
            began = time.perf_counter()
            finish(work, folder / f"{work.name}-whole")
            seconds, whole = time.perf_counter() - began, state(folder / f"{work.name}-whole")
            yield Row(work.name, "none", f"{seconds:.1f} s", whole["leftovers"] == [])
            # Python starts in the first tenth and has nothing to lose in it.
            yield from killed(work, folder, whole, [chance.uniform(0.1, 1) * seconds for _ in range(moments)])
            yield doubled(work, folder, whole)
            for left in free if disk else ():
                yield filled(work, disk, whole, left)
        if free and not disk:
            yield Row("all", "full disk", "left out: no disk can be mounted here (it takes root)", True)


def report(rows: Sequence[Row]) -> str:
    """The table, in Markdown."""
    lines = ["# Interruptions", "", f"{describe_machine()}. Each row: a trouble, and the same command once more.", ""]
    lines += ["| work | trouble | it said | same records afterwards |", "|---|---|---|---|"]
    lines += [f"| {row.work} | {row.trouble} | {row.said} | {'yes' if row.same else 'NO'} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Bring on the troubles, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=10, help="how often each work is killed")
    parser.add_argument("--lessons", default="4", help="lessons of the course to run")
    parser.add_argument("--data", default="phantoms:240")
    parser.add_argument("--works", nargs="+", choices=["course", "train", "load"], default=["course", "train", "load"])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no disk stays mounted
    known = [course(arguments.lessons, arguments.data), training(arguments.data), load(arguments.data)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        works = [work for work in known if work.name in arguments.works]
        for row in all_rows(works, Path(folder), arguments.moments, FREE, arguments.seed):
            rows.append(row)
            print(f"{row.work}: {row.trouble}: {row.said}: {'same' if row.same else 'DIFFERS'}", flush=True)
    with atomic_path(arguments.out / "interruptions.md") as temporary:
        temporary.write_text(report(rows), encoding="utf-8")
    print(report(rows))
    sys.exit(not all(row.same for row in rows))


if __name__ == "__main__":
    main()
