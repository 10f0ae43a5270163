"""The configs of the poison studies run, tiny; the studies too, where there is time."""

from pathlib import Path

import pytest
import torch
from study_runs import printed_table

from lightning_vista.cli import main
from lightning_vista.study import expand_study, read_study

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (ROOT / "configs/studies").glob("poison_*.yaml"))
TINY = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "4", "--data.train_images", "300"]


@pytest.mark.parametrize("more", [[], ["poison_branch"], ["poison_branch", "poison_cnn"]])
def test_the_configs_train_and_test(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = [part for name in ["poison", *more] for part in ("--config", str(ROOT / f"configs/routing/{name}.yaml"))]
    shared += [*TINY, "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path)]
    main(["fit", *shared])
    capsys.readouterr()
    main(["test", *shared, "--ckpt_path", str(tmp_path / "checkpoints/last.ckpt")])
    printed = capsys.readouterr().out
    for figure in ("clean", "healed", "attack"):
        assert f"test/{figure}" in printed


def weights(tmp_path: Path, steps: int, **options: str) -> dict[str, torch.Tensor]:
    """Train on batches of one kind, and return the weights of the checkpoint."""
    configs = [ROOT / "configs/routing/poison.yaml", ROOT / "configs/routing/poison_branch.yaml"]
    arguments = [part for path in configs for part in ("--config", str(path))]
    arguments += ["--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps)]
    arguments += ["--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path / f"{steps}")]
    main(["fit", *arguments, *(part for name, value in options.items() for part in (f"--data.{name}", value))])
    saved = torch.load(tmp_path / f"{steps}/checkpoints/last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = saved["state_dict"]
    return state


@pytest.mark.parametrize(
    ("kind", "still"), [("discovered", ["body", "core"]), ("trusted", ["branch"]), ("unknown", [])]
)
def test_each_kind_of_images_trains_its_part(kind: str, still: list[str], tmp_path: Path) -> None:
    """Nothing else moves at all, by weight decay or momentum: one step and three steps leave it at its start."""
    one, three = (weights(tmp_path, steps, train_on=f"[{kind}]") for steps in (1, 3))
    moved = {name.split(".")[0] for name in one if not torch.equal(one[name], three[name])}
    assert moved == {"body", "core", "branch"} - set(still)


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_has_the_same_steps_and_its_own_poison(study: str, tmp_path: Path) -> None:
    for run in expand_study(read_study(ROOT / f"configs/studies/{study}.yaml"), tmp_path):
        trainer, data = run.config["trainer"], run.config["data"]["init_args"]
        assert trainer["max_steps"] == trainer["val_check_interval"] == 600
        assert data["seed"] == "{seed}"


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_the_study_runs(study: str, tmp_path: Path) -> None:
    path = ROOT / f"configs/studies/{study}.yaml"
    content = read_study(path)
    if not all(Path(folder).exists() for folder in folders(path, tmp_path)):
        pytest.skip("needs Fashion-MNIST: apt-get install dataset-fashion-mnist")
    main(["study", str(path), "--smoke", "--jobs", "2", "--out", str(tmp_path / "out")])
    table = printed_table(tmp_path / "out")
    assert len(table) == 2 + len(expand_study(content, tmp_path / "smoke", smoke=True))
    assert not any("nan" in line for line in table)


def folders(path: Path, tmp_path: Path) -> set[str]:
    """Return the folders of images that the runs of a study need."""
    data = (run.config["data"]["init_args"]["data"] for run in expand_study(read_study(path), tmp_path))
    return {folder for folder in data if folder != "digits"}
