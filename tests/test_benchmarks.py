"""The benchmarks run, and what they report adds up. None of their seconds is judged here."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_course import write_course

from brainssl_utils.data.corpus import Corpus
from brainssl_utils.data.splits.draw import grouped_split
from brainssl_utils.methods import make_method
from brainssl_utils.results.health import MEASURES, find_band
from brainssl_utils.settings import get_profile
from brainssl_utils.training.trainer import fit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import health_bands  # noqa: E402
import interruptions  # noqa: E402
import notebook_times  # noqa: E402
import split_check  # noqa: E402
import throughput  # noqa: E402
import variants  # noqa: E402
import waiting  # noqa: E402

SMALL = {"data": "phantoms:240", "size": 32, "batch": 20}


def test_fit_is_timed_and_its_parts_add_up() -> None:
    result = variants.fit("simclr", **SMALL, steps=2)
    assert result["views_per_second"] > 0 and result["images"] == 240
    shares = result["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[part] > 0 for part in ("views", "encoder forward", "backward", "optimiser", "metrics"))
    assert all(share >= 0 for share in shares.values()), "no second is counted twice"


def test_more_images_are_copies_with_a_split_of_their_own() -> None:
    corpus, split = variants.many("phantoms:240", 3)
    assert len(corpus) == 720 and (corpus.images[:240] == corpus.images[480:]).all()
    assert len(split.test) + len(split.train) + len(split.unlabeled) == 720


def test_a_copy_that_was_split_is_listed_with_its_correlation_and_its_part(phantoms: Corpus) -> None:
    split = grouped_split(phantoms)
    assert not len(split_check.close_pairs(phantoms, split))
    a, b = split.test[0], split.unlabeled[0]
    images = phantoms.images.copy()
    images[b] = images[a, :, :, ::-1]
    [pair] = split_check.close_pairs(replace(phantoms, images=images), split).itertuples()
    assert (pair.test, pair.seen, pair.part, pair.mirrored) == (a, b, "unlabelled", True)
    assert pair.plain == pytest.approx(1, abs=1e-5) and pair.aligned > 0.99


@pytest.mark.parametrize("method", throughput.METHODS)
def test_the_stock_recipe_trains(method: str) -> None:
    assert variants.stock(method, "phantoms", size=32, batch=20)["views_per_second"] > 0


def test_the_bare_encoder_takes_every_lever() -> None:
    levers = {key: True for lever in throughput.LEVERS.values() for key in lever}
    assert set(levers) == set(variants.LEVERS)
    assert variants.bare(16, 4, 1, head=True, **levers)["views_per_second"] > 0


def test_the_report_compares_within_rounds() -> None:
    shares = {"views": 0.5, "everything else": 0.5}

    def rounds(*speeds: float) -> list[dict]:
        return [{"views_per_second": s, "peak_gib": 1.0, "shares": shares, "images": 10} for s in speeds]

    results = {name: rounds(100, 100) for name in throughput.plan("phantoms", 96)}
    results |= {"fit simclr": rounds(90, 300), "limit simclr": rounds(100, 400), "stock simclr": rounds(10, 20)}
    assert throughput.ratio(results, "fit simclr", "limit simclr") == pytest.approx((0.9 + 0.75) / 2)
    text = throughput.report(results, 96, 2)
    assert "| simclr | 195 (90-300) | 15 (10-20) | 250 (100-400) | 12.0 | 0.82 | 1.0 |" in text


def test_ways_of_waiting_are_compared_within_rounds_under_no_variable_but_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def run(options: dict, env: dict[str, str]) -> dict[str, float]:
        seen.append({name: value for name, value in env.items() if "OMP_" in name})
        return {"views_per_second": 100.0 * len(seen)}

    monkeypatch.setattr(waiting, "run", run)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    found = waiting.measure(rounds=2, steps=1)
    assert seen == 2 * [variables for variables in waiting.WAYS.values() for _ in ("alone", "busy")]
    first, *_ = rows = [
        line for line in waiting.report(found).splitlines() if line.startswith(("| spin", "| pass", "| one"))
    ]
    assert len(rows) == len(waiting.WAYS)
    # 300 steps of 154 views: at 100 and 900 views a second alone, at 200 and 1000 beside a busy core.
    assert first.endswith("| 256.7 (51.3-462.0) | 138.6 (46.2-231.0) | 0.70 | 1.00 | 1.00 |")


def test_a_run_is_split_into_start_up_imports_and_work(tmp_path: Path) -> None:
    import nbformat

    def cell(source: str, start: int, seconds: float) -> nbformat.NotebookNode:
        papermill = {"start_time": f"2026-01-01T00:00:{start:02}", "duration": seconds}
        return nbformat.v4.new_code_cell(source, metadata={"papermill": papermill})

    about = {"papermill": {"start_time": "2026-01-01T00:00:00"}}
    cells = [cell("seed = 0", 2, 0.0), cell("import a\nfrom b import c", 2, 3.0), cell("a.work()", 6, 10.0)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), tmp_path / "notebooks" / "01.ipynb")
    entries = {"01": {"status": "done", "seconds": 20.0}, "02": {"status": "failed"}}
    (tmp_path / "run.json").write_text(json.dumps({"notebooks": entries, "parameters": {"profile": "quick"}}))
    table = notebook_times.times(tmp_path)
    assert table.loc["01"].tolist() == pytest.approx([20, 2, 3, 5, 10, 25])
    assert list(table.index) == ["01", "all"]


def test_the_same_records_stand_there_after_every_trouble(tmp_path: Path) -> None:
    save = (
        "import time\nfrom pathlib import Path\nfrom brainssl_utils.files import write_json\n"
        "for number in range(20):\n"
        "    time.sleep(0.05)\n"
        "    write_json(Path(run_dir) / 'records' / f'{number % 4}.json', {'number': number, 'seconds': time.time()})"
    )
    course = interruptions.course("1", "phantoms:60", write_course(tmp_path / "n", {"01_a": [save]}))
    rows = list(interruptions.all_rows([course], tmp_path / "work", moments=2, free=[2], seed=0))
    assert all(row.same for row in rows), interruptions.report(rows)
    assert [row.trouble.split()[0] for row in rows[:4]] == ["none", "kill", "kill", "two"] and len(rows) == 5
    assert "| course | two at once | exit codes [0, 2] | yes |" in interruptions.report(rows)


def test_a_difference_after_trouble_is_seen(tmp_path: Path) -> None:
    write = "import sys, pathlib, time; p = pathlib.Path(sys.argv[1], 'records', 'a.json'); p.parent.mkdir("
    write += "parents=True, exist_ok=True); p.write_text(str(p.exists() + 0)); time.sleep(0.5)"
    work = interruptions.Work("write", ("-c", write, "{out}"))
    rows = list(interruptions.all_rows([work], tmp_path / "work", moments=1, free=[], seed=0))
    assert [row.same for row in rows] == [True, False, False]


def test_bands_are_made_of_the_records_that_fit_writes(phantoms: Corpus, tmp_path: Path, capsys) -> None:
    tiny = replace(get_profile("smoke"), epochs=2, steps_per_epoch=1)
    split = grouped_split(phantoms)
    for seed in range(3):
        method = make_method("supervised", image_size=32, seed=seed)
        run = fit(method, phantoms, split, tiny, seed, tmp_path, probes=(), progress=False)
    health_bands.main([str(tmp_path), "--out", str(tmp_path / "health.csv")])
    assert "supervised" in capsys.readouterr().out
    band = find_band(run.record, tmp_path / "health.csv")
    assert band is not None and set(band.limits) == set(MEASURES)
