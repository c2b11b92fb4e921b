"""How threads should wait for each other: training alone, and while something else keeps one core busy.

    python benchmarks/waiting.py [--rounds 3] [--steps 8] [--out benchmarks/results]

SimCLR at the `quick` profile's sizes, on phantoms, through the public `fit`; every way of waiting in a process of its own
(see `variants.py`), alone and beside a loop that does nothing, all of them in turn. A figure is the median over rounds, a
ratio the median of the rounds' own. Run it on an idle machine (about five minutes). Writes waiting.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

from throughput import describe_machine, run

from brainssl_utils.files import atomic_path
from brainssl_utils.settings import get_profile

WAYS = {
    "spinning, OpenMP's own default": {},
    "spinning briefly": {"GOMP_SPINCOUNT": "1000"},
    "passive, the package's default": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread, which waits for none": {"OMP_NUM_THREADS": "1"},
}
FIRST = next(iter(WAYS))
Seconds = dict[tuple[str, str], list[float]]  # by way of waiting and "alone" or "busy", one a round


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that computes without end, on whichever core the system gives it."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def seconds(variables: dict[str, str], steps: int) -> float:
    """Seconds that a whole `quick` training takes, from `steps` steps, with these variables and no others of OpenMP."""
    quick = get_profile("quick")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "BRAINSSL_"))}
    sizes = {"size": quick.image_size, "batch": quick.batch_size, "steps": steps}
    speed = run({"variant": "fit", "method": "simclr", **sizes}, env=rest | variables)["views_per_second"]
    views = 2 * (quick.batch_size + quick.labeled_batch_size)
    return quick.epochs * (quick.steps_per_epoch or 1) * views / speed


def measure(rounds: int, steps: int) -> Seconds:
    """Measure every way of waiting, alone and beside a busy core, in turn."""
    found: Seconds = defaultdict(list)
    for turn in range(rounds):
        for way, variables in WAYS.items():
            for load in ("alone", "busy"):
                with busy_core() if load == "busy" else nullcontext():
                    found[way, load].append(seconds(variables, steps))
                print(f"round {turn + 1}: {way}, {load}: {found[way, load][-1]:.1f} s", flush=True)
    return found


def report(found: Seconds) -> str:
    """The table, in Markdown."""

    def ratio(above: tuple[str, str], below: tuple[str, str]) -> str:
        return f"{median(one / other for one, other in zip(found[above], found[below])):.2f}"

    def spread(values: list[float]) -> str:
        return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})"

    lines = [
        "# Waiting",
        "",
        f"{describe_machine()}. Seconds of a `quick` training of SimCLR, from its speed over a few steps;",
        f"{len(found[FIRST, 'alone'])} interleaved rounds: median (least-greatest), ratios as medians of the rounds' own.",
        "Busy: a loop in another process keeps one core.",
        "",
        "| threads wait | alone, s | busy, s | busy / alone | alone / spinning | busy / spinning |",
        "|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        alone, busy = (way, "alone"), (way, "busy")
        ratios = ratio(busy, alone), ratio(alone, (FIRST, "alone")), ratio(busy, (FIRST, "busy"))
        lines.append("| " + " | ".join([way, spread(found[alone]), spread(found[busy]), *ratios]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure in turns, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed, after as many that are not")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    text = report(measure(arguments.rounds, arguments.steps))
    with atomic_path(arguments.out / "waiting.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
