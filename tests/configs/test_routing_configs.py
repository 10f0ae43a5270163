"""The configs of the partition studies run, tiny; their studies too, where there is time."""

import math
from pathlib import Path

import pytest
import yaml
from study_runs import printed_table

from lightning_vista.cli import main

ROOT = Path(__file__).parents[2]
#: What makes each config small enough for a test, with figures that its test must give.
TINY = {
    "partition_autoencoder": (["--trainer.check_val_every_n_epoch", "1"], ["ratio/low", "decoder/class_9"]),
    "partition_classifier": (
        ["--model.network_options", "{channels: [8, 8, 8, 256], layers: [1, 1, 1, 1]}", "--data.train_images", "100"],
        ["full/low", "without_low/high", "probe_high/low"],
    ),
    "latents": (["--trainer.check_val_every_n_epoch", "1"], ["matched_accuracy", "traversal_accuracy"]),
}
SMOKES = ["partition_digits", "partition_classifier", "partition_fashion", "interpretable_latents"]


@pytest.mark.parametrize("config", TINY)
def test_the_config_trains_and_tests(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, figures = TINY[config]
    shared = ["--config", str(ROOT / f"configs/routing/{config}.yaml"), *arguments]
    shared += ["--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path)]
    main(["fit", *shared, "--trainer.max_epochs", "1"])
    capsys.readouterr()
    main(["test", *shared, "--ckpt_path", str(tmp_path / "checkpoints/last.ckpt")])
    printed = capsys.readouterr().out
    for figure in figures:
        assert f"test/{figure}" in printed


@pytest.mark.parametrize("study", SMOKES)
def test_the_controls_of_a_study_are_routing_by_nothing(study: str, tmp_path: Path) -> None:
    from lightning_vista.study import expand_study, read_study

    runs = {
        run.variant: run.config for run in expand_study(read_study(ROOT / f"configs/studies/{study}.yaml"), tmp_path)
    }
    weights = {name: config["trainer"]["callbacks"][0]["init_args"]["mask_weight"] for name, config in runs.items()}
    controls = {name for name in weights if name.startswith("unrouted")}
    assert {name for name, weight in weights.items() if weight == 0} == controls
    assert "GradientRouting" in runs["unrouted"]["trainer"]["callbacks"][0]["class_path"]


@pytest.mark.slow
@pytest.mark.parametrize("study", [*SMOKES, "interpretable_latents_tuning"])
def test_the_study_runs(study: str, tmp_path: Path) -> None:
    path = ROOT / f"configs/studies/{study}.yaml"
    content = yaml.safe_load(path.read_text())
    folder = content.get("overrides", {}).get("data.init_args.data")
    if folder is not None and not Path(folder).exists():
        pytest.skip("needs Fashion-MNIST: apt-get install dataset-fashion-mnist")
    main(["study", str(path), "--smoke", "--jobs", "2", "--out", str(tmp_path / "out")])
    table = printed_table(tmp_path / "out")
    points = math.prod(map(len, content.get("grid", {}).values()))
    assert len(table) == 2 + points * len(content["runs"])
    assert not any("–" in line for line in table)  # noqa: RUF001  every figure has a value
    assert content["title"] in (tmp_path / "out/study.html").read_text()
