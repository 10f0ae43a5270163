import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_vista.cli import main
from lightning_vista.vista.frame_order import CONTROLS
from lightning_vista.vista.tables import read_scores

pytestmark = pytest.mark.portable


def test_build_verify_test_and_report_from_the_command_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, run, report = tmp_path / "shards", tmp_path / "run", tmp_path / "report"
    main(["shards", "build", str(dataset / "tasks"), str(dataset / "videos"), str(shards), "--max-shard-mb", "0.02"])
    assert "3 problem sets, 13 videos" in capsys.readouterr().out
    main(["shards", "verify", str(shards)])
    assert "all unchanged" in capsys.readouterr().out
    model = ["--model", "RandomScorer", "--model.seed", "3", "--evaluation.run_dir", str(run)]
    data = ["--data", "ViSTaDataModule", "--data.shards", str(shards), "--data.num_workers", "0"]
    main(["test", *model, *data, "--trainer.logger", "false", "--trainer.accelerator", "cpu"])
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["evaluation"]["run_dir"] == str(run)
    assert config["model"]["init_args"]["seed"] == 3
    assert config["data"]["init_args"]["shards"] == str(shards)
    main(["report", str(run), "--rescaling", "none", "--out", str(report)])
    assert "permutation" in capsys.readouterr().out
    results = json.loads((report / "results.json").read_text())
    assert list(results) == ["random-scorer", "majority", "random"]
    assert (report / "results.csv").exists()
    assert (report / "report.html").stat().st_size > 30_000


def test_a_config_of_a_run_runs_again(shards: Path, tmp_path: Path) -> None:
    data = ["--data", "ViSTaDataModule", "--data.shards", str(shards), "--data.num_workers", "0"]
    trainer = ["--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    main(["test", "--model", "RandomScorer", "--evaluation.run_dir", str(tmp_path / "a"), *data, *trainer])
    main(["test", "--config", str(tmp_path / "a" / "config.yaml"), "--evaluation.run_dir", str(tmp_path / "b")])
    assert read_scores(tmp_path / "a").rows.equals(read_scores(tmp_path / "b").rows)


@pytest.mark.parametrize("option", ["run_dir", "rescaling", "strict", "dry_run"])
def test_options_that_have_moved_are_named(option: str) -> None:
    with pytest.raises(SystemExit, match=f"`{option}` is now `evaluation.{option}`"):
        main(["test", "--model", "RandomScorer", f"--model.{option}", "true", "--data", "ViSTaDataModule"])


def test_mistakes_are_told_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"lightning-vista: No folder of problem sets at .*tasks"):
        main(["shards", "build", str(tmp_path / "tasks"), str(tmp_path), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="--frames and --size come together"):
        main(["shards", "build", "a", "b", "c", "--frames", "8"])
    with pytest.raises(SystemExit, match="shards build"):
        main(["shards", "verify", str(tmp_path)])
    with pytest.raises(SystemExit, match="No score table"):
        main(["report", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    with pytest.raises(FileNotFoundError):
        main(["--traceback", "report", str(tmp_path / "none"), "--out", str(tmp_path / "out")])


def test_help_names_every_command_and_is_quick_to_import() -> None:
    code = """
import sys
from lightning_vista.cli import main
try:
    main(["--help"])
except SystemExit:
    print("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("fit", "validate", "test", "predict", "demo", "mini", "shards", "report", "study", "routing"):
        assert f"\n    {command} " in result.stdout
    assert result.stdout.strip().endswith("False")


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(shards: Path, tmp_path: Path) -> None:
    data = ["--data", "ViSTaDataModule", "--data.shards", str(shards), "--data.batch_size", "2"]
    trainer = ["--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    for name, processes in (("one", ["--trainer.devices", "1"]), ("two", ["--trainer.devices", "2"])):
        model = ["--model", "RandomScorer", "--evaluation.run_dir", str(tmp_path / name)]
        command = [sys.executable, "-m", "lightning_vista", "test", *model, *data, *trainer, *processes]
        subprocess.run(command, check=True, capture_output=True, timeout=900, cwd=tmp_path)
    assert (tmp_path / "one/scores.parquet").read_bytes() == (tmp_path / "two/scores.parquet").read_bytes()


@pytest.mark.slow
def test_two_processes_give_the_controls_of_one(shards: Path, tmp_path: Path) -> None:
    model = ["--model", "DualEncoderScorer", "--model.weights", "shipped", "--model.allow_unknown", "true"]
    data = ["--data", "ViSTaDataModule", "--data.shards", str(shards), "--data.batch_size", "1"]
    trainer = ["--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    for processes in ("1", "2"):
        run = ["--evaluation.run_dir", str(tmp_path / processes), "--evaluation.controls", "[reversed, first_last]"]
        options = [*model, *data, *trainer, *run, "--trainer.devices", processes]
        command = [sys.executable, "-m", "lightning_vista", "test", *options]
        subprocess.run(command, check=True, capture_output=True, timeout=900, cwd=tmp_path)
    assert (tmp_path / "1/scores.parquet").read_bytes() == (tmp_path / "2/scores.parquet").read_bytes()
    table = read_scores(tmp_path / "2")
    assert set(table.controls) == {"reversed", "first_last"}
    assert not table.rows["score"].null_count()
    assert all(rows["score"].to_list() != table.rows["score"].to_list() for rows in table.controls.values())


def test_controls_from_the_command_line(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", "ViSTaDataModule", "--data.shards", str(shards), "--data.num_workers", "0"]
    options = ["--model", "RandomScorer", *data, "--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    with pytest.raises(SystemExit, match="backwards"):
        main(["test", *options, "--evaluation.controls", "[backwards]"])
    with pytest.raises(SystemExit, match="`controls`: expected each control once"):
        main(["test", *options, "--evaluation.controls", "[static, static]"])
    run = tmp_path / "run"
    main(["test", *options, "--evaluation.run_dir", str(run), "--evaluation.controls", "[reversed, static]"])
    assert yaml.safe_load((run / "config.yaml").read_text())["evaluation"]["controls"] == ["reversed", "static"]
    main(["test", "--config", str(run / "config.yaml"), "--evaluation.run_dir", str(tmp_path / "again")])
    assert tuple(read_scores(tmp_path / "again").controls) == ("reversed", "static")
    main(["report", str(run), "--out", str(tmp_path / "report")])
    assert "random-scorer: no verdict on order" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_makes_a_page_of_real_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo", "--out", str(tmp_path / "demo")])
    printed = capsys.readouterr().out
    assert "report.html" in printed
    results = json.loads((tmp_path / "demo/report/results.json").read_text())
    shipped = ["dual-mean", "dual-temporal", "dual-slot", "dual-modular", "dual-modular-cut"]
    assert list(results)[:6] == ["random-scorer", *shipped]
    rows = results["random-scorer"]["aggregates"]
    assert {row["level"] for row in rows} >= set(range(1, 9))
    assert {row["kind"] for row in rows} >= {"objects", "properties", "actions", "general", "permutation"}
    verdicts = {model: part["controls"]["verdict"] for model, part in results.items() if "controls" in part}
    assert verdicts == {
        "dual-mean": "blind to order on permutation sets",
        "dual-temporal": "not blind to order on permutation sets",
        "dual-slot": "not blind to order on permutation sets",
        "dual-modular": "not blind to order on permutation sets",
        "dual-modular-cut": "no better with the right order on permutation sets",
    }
    assert {row["control"] for row in results["dual-slot"]["controls"]["rows"]} == set(CONTROLS)
    page = (tmp_path / "demo/report/report.html").read_text(encoding="utf-8")
    assert len(page.encode()) <= 1_200_000, "docs/report.md promises a page that can be mailed"
    assert "data:video/mp4" in page
    assert all(verdict in page for verdict in verdicts.values())
