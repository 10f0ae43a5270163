"""The configs of scalable oversight run tiny, one over the other; the study too, where there is time."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from study_runs import printed_table

from lightning_vista.cli import main
from lightning_vista.study import Run, expand_study, read_study

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "configs/studies/oversight_levels.yaml"
METHODS = sorted(path.stem for path in (ROOT / "configs/oversight").glob("*.yaml"))
TINY = ["--data.rollouts_per_epoch", "2", "--data.test_episodes", "20", "--data.validation_episodes", "20"]
TINY += ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--trainer.accelerator", "cpu"]


@pytest.mark.parametrize("method", METHODS)
def test_the_config_trains_and_tests(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = dict.fromkeys(["routing", method])
    shared = [part for name in files for part in ("--config", str(ROOT / f"configs/oversight/{name}.yaml"))]
    shared += [*TINY, "--trainer.default_root_dir", str(tmp_path)]
    shared += ["--data.num_envs", "4"] if method == "paper" else []
    main(["fit", *shared])
    capsys.readouterr()
    main(["test", *shared, "--ckpt_path", str(tmp_path / "checkpoints/last.ckpt")])
    printed = capsys.readouterr().out
    for figure in ("return", "diamond/return", "ghost/time_out", "gate/diamond"):
        assert f"test/{figure}" in printed
    assert (tmp_path / "policy.png").exists()


def test_the_sizes_of_the_paper_are_those() -> None:
    layers = [yaml.safe_load((ROOT / f"configs/oversight/{name}.yaml").read_text()) for name in ("routing", "paper")]
    model, data = (
        {k: v for layer in layers for k, v in layer[part]["init_args"].items()} for part in ("model", "data")
    )
    assert (model["width"], model["learning_rate"], model["entropy_weight"]) == (256, 5e-5, 0.1)
    assert (model["discount"], model["value_weight"], model["gate_weight"]) == (0.97, 0.5, 0.01)
    assert (data["num_envs"], data["num_steps"], data["size"], data["horizon"]) == (512, 32, 5, 32)
    assert data["rollouts_per_epoch"] * layers[1]["trainer"]["max_epochs"] == 20_000


def runs(tmp_path: Path) -> dict[str, Run]:
    return {run.variant: run for run in expand_study(read_study(STUDY), tmp_path)}


def test_methods_differ_in_reward_rows_and_routing_only(tmp_path: Path) -> None:
    def described(config: dict[str, Any]) -> tuple[Any, ...]:
        model, callbacks = config["model"]["init_args"], config["trainer"]["callbacks"]
        routed = [c["init_args"]["mask_weight"] for c in callbacks if c["class_path"].endswith("GradientRouting")]
        return (
            model["punished"],
            model["train_on"],
            model["baseline"],
            model["deployed"],
            model["gate_weight"] > 0,
            routed,
        )

    assert {name: described(run.config) for name, run in runs(tmp_path).items()} == {
        "routing": ("none", "all", "unseen", "diamond", True, [1.0]),
        "routing, paper's baseline": ("none", "all", "all", "diamond", True, [1.0]),
        "no routing": ("none", "all", "unseen", "diamond", True, [0.0]),
        "no routing, paper's baseline": ("none", "all", "all", "diamond", True, [0.0]),
        "naive": ("seen", "all", "all", "mixed", False, []),
        "filtering": ("all", "seen", "all", "mixed", False, []),
        "filtering, known ends": ("all", "known", "all", "mixed", False, []),
        "oracle": ("all", "all", "all", "mixed", False, []),
        "oracle, p times the updates": ("all", "all", "all", "mixed", False, []),
    }


def test_the_control_has_the_routes_of_routing(tmp_path: Path) -> None:
    routed, control = (runs(tmp_path)[name].config["trainer"]["callbacks"][0] for name in ("routing", "no routing"))
    assert routed["init_args"] | {"mask_weight": 0.0} == control["init_args"]


def test_every_method_of_the_study_has_its_trials(tmp_path: Path) -> None:
    tried = {
        run.variant
        for name in ("tuning", "share_tuning")
        for run in expand_study(read_study(STUDY.with_name(f"oversight_{name}.yaml")), tmp_path)
    }
    assert tried == set(runs(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows"), [("levels", 9 * 4), ("lift", 3 * 2), ("share_tuning", 5)])
def test_the_study_runs(name: str, rows: int, tmp_path: Path) -> None:
    study = STUDY.with_name(f"oversight_{name}.yaml")
    main(["study", str(study), "--smoke", "--jobs", "2", "--out", str(tmp_path / "out")])
    table = printed_table(tmp_path / "out")
    assert len(table) == 2 + rows
    assert "true return" in table[0]
    assert "true return" in (tmp_path / "out/study.html").read_text()
