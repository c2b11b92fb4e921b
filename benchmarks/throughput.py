"""How fast training is: against the stock recipe, against the limit, and where a step's time goes.

    python benchmarks/throughput.py [DATA] [--rounds 3] [--out benchmarks/results]

Every variant runs in a process of its own (see `variants.py`), all of them in turn, several rounds; a figure is the
median over rounds, a ratio the median of the rounds' own ratios, since machines slow down and speed up between rounds.
Run it alone: a second busy process slows training several times over. Writes throughput.md, .json and .png.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from brainssl_utils.compute.machine import cpu_features
from brainssl_utils.files import atomic_path, write_json
from brainssl_utils.results.provenance import environment, host

METHODS = ("simclr", "barlow_twins", "nnclr", "proposed_model")
LEVERS = {
    "float32, as the study writes it": {},
    "+ bfloat16": {"bfloat16": True},
    "+ channels-last": {"channels_last": True},
    "+ freed memory kept": {"keep_memory": True},
    "+ pooling before ReLU": {"pool_first": True},
    "+ oneDNN's own layout": {"onednn": True},
    "+ huge pages": {"huge_pages": True},
}
BATCHES = (64, 255, 1024)
TIMES = (1, 4, 16)
# What no target is set for is measured in the first rounds only.
SIDE = ("batch ", "images ", "lever ", "fit masked_encoder", "fit twin_network", "fit supervised")


def plan(data: str, size: int) -> dict[str, dict[str, Any]]:
    """Every variant by name, in the order of a round."""
    common = {"data": data, "size": size}
    everything = {name: on for lever in LEVERS.values() for name, on in lever.items()}
    variants: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        # The limit beside each method: a machine's speed drifts within minutes.
        variants[f"limit {method}"] = {"variant": "bare", "size": size, "head": True, **everything}
        variants[f"fit {method}"] = {"variant": "fit", "method": method, **common}
        variants[f"stock {method}"] = {"variant": "stock", "method": method, **common}
    for method in ("masked_encoder", "twin_network", "supervised"):
        variants[f"fit {method}"] = {"variant": "fit", "method": method, **common}
    levers: dict[str, Any] = {}
    for name, lever in LEVERS.items():
        levers |= lever
        variants[f"lever {name}"] = {"variant": "bare", "size": size, "steps": 4 if len(levers) < 2 else 12, **levers}
    for batch in BATCHES:
        steps = max(8, 2048 // batch)
        variants[f"batch {batch}"] = {"variant": "fit", "batch": batch, "steps": steps, **common}
    for times in TIMES:
        variants[f"images x{times}"] = {"variant": "fit", "times": times, "steps": 8, **common}
    return variants


def run(options: dict[str, Any], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one variant in a fresh process; `env` takes the place of the environment it would inherit."""
    command = [sys.executable, str(Path(__file__).with_name("variants.py")), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{options} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ratio(results: dict[str, list[dict[str, Any]]], above: str, below: str) -> float:
    """Median over rounds of one variant's throughput divided by another's of the same round."""
    pairs = zip(results[above], results[below])
    return median(one["views_per_second"] / other["views_per_second"] for one, other in pairs)


def report(results: dict[str, list[dict[str, Any]]], size: int, rounds: int) -> str:
    """The tables, in Markdown."""

    def speed(name: str) -> str:
        values = [result["views_per_second"] for result in results[name]]
        return f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})"

    def memory(name: str) -> str:
        return f"{median(result['peak_gib'] for result in results[name]):.1f}"

    lines = [
        "# Training throughput",
        "",
        f"{describe_machine()}. {size} x {size} px, batches of 255 + 51 images unless said otherwise,",
        f"{rounds} interleaved rounds (levers, growth and other methods: {len(results['batch 255'])}), one process a variant:",
        "median (least-greatest), ratios as medians of the rounds' own.",
        "The limit is the bare encoder and projection head on ready tensors; stock is the recipe of Lightly's tutorials.",
        "",
        "| method | fit, views/s | stock, views/s | limit, views/s | fit / stock | fit / limit | peak GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in [name for name in results if name.startswith("fit ")]:
        stock, limit = (name.replace("fit", other) for other in ("stock", "limit"))
        compared = ("", "", "", "")
        if stock in results:
            ratios = f"{ratio(results, name, stock):.1f}", f"{ratio(results, name, limit):.2f}"
            compared = (speed(stock), speed(limit), *ratios)
        cells = (name[4:], speed(name), *compared, memory(name))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Levers, on the bare encoder, each with those above it:", "", "| | views/s | gain |", "|---|---|---|"]
    before = None
    for name in [name for name in results if name.startswith("lever ")]:
        gain = f"{ratio(results, name, before):.2f} x" if before else ""
        lines.append(f"| {name[6:]} | {speed(name)} | {gain} |")
        before = name
    parts = list(results["fit simclr"][0]["shares"])
    lines += [
        "",
        "Share of a training's time (%):",
        "",
        f"| method | {' | '.join(parts)} |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for name in [name for name in results if name.startswith("fit ")]:
        shares = [f"{100 * median(result['shares'][part] for result in results[name]):.1f}" for part in parts]
        lines.append(f"| {name[4:]} | {' | '.join(shares)} |")
    lines += ["", "Growth, SimCLR through `fit`:", "", "| | images | views/s | peak GiB |", "|---|---|---|---|"]
    for name in [name for name in results if name.startswith(("batch ", "images "))]:
        lines.append(f"| {name} | {results[name][0]['images']} | {speed(name)} | {memory(name)} |")
    return "\n".join(lines) + "\n"


def describe_machine() -> str:
    """Cores, instruction sets and versions: what speed depends on."""
    machine, versions = host(), environment()
    kind = ", ".join(cpu_features()) or "no bfloat16 instructions known"
    return f"{machine['system']} {platform.machine()}, {machine['cpus']} cores ({kind}), torch {versions['torch']}"


def draw(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Bars of throughput: the stock recipe, fit and the limit."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    labels = {"stock": "stock recipe", "fit": "fit", "limit": "limit: bare encoder and head"}
    for offset, (kind, label) in zip((-0.27, 0, 0.27), labels.items()):
        heights = [median(result["views_per_second"] for result in results[f"{kind} {method}"]) for method in METHODS]
        axis.bar([place + offset for place in range(len(METHODS))], heights, 0.25, label=label)
    axis.set_xticks(range(len(METHODS)), METHODS)
    axis.set_ylabel("views a second")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def main() -> None:
    """Measure in turns, then write table, figures and raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="phantoms", help='folder with the archives, or "phantoms"')
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--side-rounds", type=int, default=1, help="rounds that also measure levers, growth and other methods"
    )
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--only", nargs="*", default=[], help="starts of the names of variants to run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(arguments.rounds):
        for name, options in plan(arguments.data, arguments.image_size).items():
            if turn >= arguments.side_rounds and name.startswith(SIDE):
                continue
            if not arguments.only or name.startswith(tuple(arguments.only)):
                results[name].append(run(options))
                print(f"round {turn + 1}: {name}: {results[name][-1]['views_per_second']:.0f} views/s", flush=True)
    if arguments.only:
        return
    write_json(arguments.out / "throughput.json", results)
    text = report(results, arguments.image_size, arguments.rounds)
    with atomic_path(arguments.out / "throughput.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    draw(results, arguments.out / "throughput.png")
    print(text)


if __name__ == "__main__":
    main()
