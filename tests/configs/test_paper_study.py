"""The paper's line-up runs as a study: with tiny stand-ins for its judges, and without those that are missing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import chat_server
from study_runs import printed_table
from tiny_checkpoints import save_open_clip, save_viclip
from tiny_encoders import save_s3d

from lightning_vista.cli import run_lightning
from lightning_vista.study import Study, read_study
from lightning_vista.study.running import run_study

STUDY = Path(__file__).parents[2] / "configs/studies/vista_paper.yaml"


def with_stand_ins(study: Study, judges: dict[str, dict[str, Any]], shared: dict[str, Any]) -> Study:
    """The study with other weights, and only those of its frames that the tiny data has."""
    runs = []
    for run in study.runs:
        changes = next((changes for name, changes in judges.items() if run.name.startswith(name)), {})
        overrides = {f"model.init_args.{key}": value for key, value in changes.items()}
        runs.append(replace(run, overrides=run.overrides | overrides))
    return replace(study, runs=runs, overrides=study.overrides | shared)


@pytest.mark.slow
def test_the_line_up(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shared = {"data.init_args.shards": str(shards), "trainer.accelerator": "cpu"}
    clip: dict[str, Any] = {"model": save_open_clip(tmp_path / "tiny-clip"), "pretrained": None}
    weights, words = save_s3d(tmp_path)
    s3d = {"weights": weights, "words": words, "num_frames": 8, "size": 32}
    judges = {"CLIP": clip, "ViCLIP": {"weights": save_viclip(tmp_path)}, "S3D": s3d}
    study = with_stand_ins(read_study(STUDY), judges, shared)
    run_study(study, tmp_path / "study", run_lightning, smoke=True, allow_missing=True)
    assert "MISSING: GPT-4o" in capsys.readouterr().out  # no key
    with chat_server() as server:
        study = with_stand_ins(study, {"GPT-4o": {"base_url": server.url}}, {})
        run_study(study, tmp_path / "study", run_lightning, smoke=True)
    assert len(printed_table(tmp_path / "study")) == 2 + 9
    assert (tmp_path / "runs/replies.sqlite").exists()
    assert any((tmp_path / "runs/embeddings").iterdir())
