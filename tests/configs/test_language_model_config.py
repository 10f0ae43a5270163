"""The config of plain language models runs tiny: on the embedded corpus, and on own data with an own model."""

from pathlib import Path

import pytest
import yaml
from own_model import write_own_model

from lightning_vista.cli import main
from lightning_vista.text import load_tokenizer, tell_stories

CONFIG = Path(__file__).parents[2] / "configs/routing/language_model.yaml"
TINY = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.accelerator", "cpu"]


def test_the_config_trains_and_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--config", str(CONFIG), *TINY, "--trainer.default_root_dir", str(tmp_path), "--data.num_stories", "100"]
    main(["fit", *shared])
    assert len(load_tokenizer(str(tmp_path / "tokenizer"))) > 300
    capsys.readouterr()
    main(["test", *shared, "--ckpt_path", str(tmp_path / "checkpoints/last.ckpt")])
    printed = capsys.readouterr().out
    for group in ("forget", "retain", "all"):
        assert f"test/loss/{group}" in printed


def test_own_data_and_an_own_model_by_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_own_model(tmp_path, list(tell_stories(60)))
    own = {
        "model": {
            "class_path": "lightning_vista.models.LanguageModelModule",
            "init_args": {"checkpoint": str(tmp_path / "my_model")},
        },
        "data": {
            "class_path": "lightning_vista.datamodules.StoriesDataModule",
            "init_args": {
                "data": str(tmp_path / "my_texts.jsonl"),
                "forget_words": ["sea", "reef"],
                "tokenizer": str(tmp_path / "my_model"),
                "labelling": {"forget": 0.5},
                "max_length": 64,
            },
        },
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    (tmp_path / "trainer.yaml").write_text(yaml.safe_dump({"trainer": yaml.safe_load(CONFIG.read_text())["trainer"]}))
    shared = ["--config", str(tmp_path / "trainer.yaml"), "--config", str(tmp_path / "own.yaml")]
    main(["fit", *shared, *TINY, "--trainer.default_root_dir", str(tmp_path / "run")])
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()
