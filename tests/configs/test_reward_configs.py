"""The config of an agent that a judge rewards runs, tiny; its study too, where there is time."""

from pathlib import Path

import pytest
from study_runs import printed_table

from lightning_vista.cli import main

ROOT = Path(__file__).parents[2]


def test_the_config_trains_and_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--config", str(ROOT / "configs/rewards/home_task.yaml"), "--data.num_envs", "4"]
    shared += ["--data.updates_per_epoch", "2", "--data.test_rounds", "1", "--trainer.default_root_dir", str(tmp_path)]
    main(["fit", *shared, "--trainer.max_epochs", "1"])
    capsys.readouterr()
    main(["test", *shared, "--ckpt_path", str(tmp_path / "checkpoints/last.ckpt")])
    printed = capsys.readouterr().out
    for figure in ("success", "wrong_order", "in_passing", "reward/right_order"):
        assert f"test/{figure}" in printed
    assert (tmp_path / "behaviour_moving.png").exists()


@pytest.mark.slow
def test_the_study_runs(tmp_path: Path) -> None:
    main(
        ["study", str(ROOT / "configs/studies/judge_as_reward.yaml"), "--smoke", "--jobs", "2", "--out", str(tmp_path)]
    )
    rows = printed_table(tmp_path)[2:]
    assert len(rows) == 12
    empty = [row.count("–") for row in rows]  # noqa: RUF001  of the true reward, seven columns of scripts
    assert empty == [7, 7, *[0] * 10]
    assert "eight episodes after training" in (tmp_path / "study.html").read_text()
