from pathlib import Path
from typing import Any

import lightning as L
import pytest
import yaml
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import WandbLogger
from wandb_runs import wait_until_written

from lightning_vista.cli import main
from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.text import load_tokenizer


def fit(seed: int, *arguments: str) -> None:
    main(
        [
            "fit",
            f"--seed_everything={seed}",
            "--model=lightning.pytorch.demos.boring_classes.BoringModel",
            "--data=lightning.pytorch.demos.boring_classes.BoringDataModule",
            "--trainer.accelerator=cpu",
            "--trainer.max_steps=1",
            "--trainer.limit_val_batches=1",
            "--trainer.log_every_n_steps=1",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
            *arguments,
        ]
    )


def seed_of(config: Path) -> int:
    return int(yaml.safe_load(config.read_text(encoding="utf-8"))["seed_everything"])


def test_wandb_runs_of_one_folder_keep_their_own_files(wandb_dir: Path) -> None:
    logger = ("--trainer.logger=WandbLogger", f"--trainer.logger.save_dir={wandb_dir}", "--trainer.logger.offline=true")
    contents: dict[Path, bytes] = {}
    for seed in (1, 2):
        fit(seed, *logger, "--trainer.logger.project=routing")
        assert {path: path.read_bytes() for path in contents} == contents
        run_file = next(path for path in wandb_dir.glob("wandb/offline-run-*/run-*.wandb") if path not in contents)
        wait_until_written(run_file)
        folder = wandb_dir / "routing" / run_file.stem.removeprefix("run-")
        (checkpoint,) = (folder / "checkpoints").glob("*.ckpt")
        assert seed_of(folder / "config.yaml") == seed
        contents |= {path: path.read_bytes() for path in (run_file, checkpoint, folder / "config.yaml")}
    assert len(contents) == 6
    assert sorted(path.name for path in wandb_dir.iterdir()) == ["routing", "wandb"]


def test_runs_of_one_wandb_folder_keep_their_own_tokenizers(wandb_dir: Path) -> None:
    import wandb

    vocabularies = []
    for num_stories in (100, 60):
        data = StoriesDataModule(num_stories=num_stories)
        logger = WandbLogger(save_dir=wandb_dir, project="texts", offline=True)
        quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
        L.Trainer(
            accelerator="cpu", logger=logger, max_steps=0, num_sanity_val_steps=0, log_every_n_steps=1, **quiet
        ).fit(BoringModel(), datamodule=data)
        vocabularies.append(data.tokenizer.get_vocab())
        wandb.finish()
    found = [load_tokenizer(str(folder)).get_vocab() for folder in wandb_dir.glob("texts/*/tokenizer")]
    assert sorted(map(len, found)) == sorted(map(len, vocabularies))
    assert all(vocabulary in found for vocabulary in vocabularies)
    assert sorted(path.name for path in wandb_dir.iterdir()) == ["texts", "wandb"]


def test_a_run_that_fails_ends_its_wandb_run(wandb_dir: Path) -> None:
    import wandb

    arguments = ("--trainer.logger=WandbLogger", f"--trainer.logger.save_dir={wandb_dir}", "--ckpt_path=absent.ckpt")
    with pytest.raises(SystemExit, match="absent.ckpt"):
        fit(1, *arguments)
    assert wandb.run is None
    assert len(list(wandb_dir.glob("wandb/offline-run-*"))) == 1


@pytest.mark.parametrize(
    ("logger", "folder"),
    [
        (
            ("--trainer.logger=CSVLogger", "--trainer.logger.version=fixed", "--trainer.logger.save_dir="),
            "lightning_logs/fixed",
        ),
        (("--trainer.logger=false", "--trainer.default_root_dir="), "."),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:.*logs directory .* is not empty:UserWarning", "ignore:Checkpoint directory:UserWarning"
)
def test_where_runs_share_a_folder_the_next_config_gets_a_number(
    tmp_path: Path, logger: tuple[str, ...], folder: str
) -> None:
    for seed in (1, 2, 3):
        fit(seed, *logger[:-1], f"{logger[-1]}{tmp_path}", "--trainer.enable_checkpointing=false")
    names = ("config.yaml", "config-2.yaml", "config-3.yaml")
    assert [seed_of(tmp_path / folder / name) for name in names] == [1, 2, 3]


def test_a_scorers_config_lies_in_its_run_folder_and_stays(shards: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        main(
            [
                "test",
                f"--seed_everything={seed}",
                "--model=RandomScorer",
                f"--evaluation.run_dir={tmp_path / 'run'}",
                "--data=ViSTaDataModule",
                f"--data.shards={shards}",
                "--data.num_workers=0",
                "--trainer.accelerator=cpu",
                "--trainer.logger=false",
                "--trainer.enable_progress_bar=false",
            ]
        )
    assert seed_of(tmp_path / "run" / "config.yaml") == 1
