import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from study_runs import measure

from lightning_vista.study import FigureSpec, Study, StudyError, Variant
from lightning_vista.study.running import run_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "base.yaml").write_text(f"model: {{value: 1, diary: {tmp_path / 'diary.txt'}}}\n")
    return Study(
        title="Some <values>",
        runs=[Variant("one"), Variant("ten", overrides={"model.value": 10})],
        metrics={"value": "test/value", "not a number": "test/nan", "absent": "test/absent"},
        configs=[str(tmp_path / "base.yaml")],
        seeds=[0, 1],
        figures=[FigureSpec("Values", {"tested": "test/value"})],
    )


def test_a_study_runs_once_goes_on_and_survives_failures(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, diary = tmp_path / "out", tmp_path / "diary.txt"
    page = run_study(study, out, measure, jobs=2)
    assert "Some &lt;values&gt;" in page.read_text()
    assert sorted(diary.read_text().split()[1::3]) == ["1"] * 4 + ["10"] * 4
    assert (out / "runs/one/seed_1/log.txt").read_text() == "value 1\nvalue 1\n"
    with (out / "results.csv").open() as file:
        rows = {(row["run"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows["ten", "test/value"]["mean"]) == 10.5
    assert float(rows["ten", "test/value"]["ci_high"]) == pytest.approx(10.5 + 12.706 * 0.5, abs=1e-3)
    assert rows["ten", "test/nan"]["mean"] == ""
    printed = capsys.readouterr().out
    assert "| ten | 10.500 (4.147 to 16.853) | – | – |" in printed  # noqa: RUF001
    assert "No run logged test/absent. See" in printed

    bad = [Variant(word, overrides={"model.value": word}) for word in ("raise", "exit", "die")]
    changed = replace(study, runs=[study.runs[0], *bad, Variant("two", overrides={"model.value": 2})])
    with pytest.raises(StudyError, match=r"6 of 10 runs failed") as caught:
        run_study(changed, out, measure)
    assert str(out / "runs/raise/seed_1/log.txt") in str(caught.value)
    assert "raised on purpose" in (out / "runs/raise/seed_1/log.txt").read_text()
    assert diary.read_text().count("test 1 ") == 2, "what is finished is not repeated"
    results = json.loads((out / "results.json").read_text())
    assert [row["run"] for row in results["rows"]] == ["one", "two"]
    assert (results["finished"], results["runs"], results["smoke"]) == (4, 10, False)
    assert results["rows"][1]["metrics"]["test/value"]["seeds"] == {"0": 2, "1": 3}


def test_at_least_one_job(study: Study, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 process, got 0"):
        run_study(study, tmp_path, measure, jobs=0)


def test_runs_that_miss_something_are_left_out_only_with_leave(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = replace(study, seeds=[0], runs=[study.runs[0], Variant("absent", overrides={"model.value": "miss"})])
    with pytest.raises(StudyError, match=r"1 of 2 runs failed(.|\n)*Add --allow-missing"):
        run_study(study, tmp_path / "out", measure)
    run_study(study, tmp_path / "out", measure, allow_missing=True)
    printed = capsys.readouterr().out
    assert "MISSING: absent, seed 0" in printed
    assert f"missing:\n  absent, seed 0: {tmp_path / 'out/runs/absent/seed_0/log.txt'}" in printed
