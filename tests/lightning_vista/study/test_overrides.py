from pathlib import Path
from typing import Any

import pytest

from lightning_vista.study import StudyError, expand_study, read_study
from lightning_vista.study.overrides import override

CONFIG = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
    - class_path: lightning_vista.callbacks.GradientRouting
      init_args: {mask_weight: 1.0, routes: [{module: a, weights: {forget: {old: -1.0}}}]}
    - class_path: lightning_vista.callbacks.Ablation
      init_args: {regions: [a]}
    - lightning_vista.callbacks.CoherenceTuning
    - class_path: lightning_vista.callbacks.Ablation
      init_args: {regions: [b]}
"""
STUDY = "title: t\nmetrics: {}\nconfigs: [base.yaml]\nruns: [{name: x}]\n"


def expanded(folder: Path, text: str, smoke: bool = False) -> list[list[Any]]:
    """Return the callbacks of each run."""
    (folder / "base.yaml").write_text(CONFIG)
    (folder / "study.yaml").write_text(STUDY + text)
    runs = expand_study(read_study(folder / "study.yaml"), folder, smoke)
    return [run.config["trainer"]["callbacks"] for run in runs]


@pytest.mark.parametrize("section", ["overrides", "grid", "smoke"])
def test_a_callback_is_addressed_by_its_class(tmp_path: Path, section: str) -> None:
    value = "[0.5]" if section == "grid" else "0.5"
    (callbacks,) = expanded(tmp_path, f"{section}: {{callbacks.GradientRouting.mask_weight: {value}}}\n", smoke=True)
    assert callbacks[1]["init_args"]["mask_weight"] == 0.5
    assert callbacks[1]["init_args"]["routes"] == [{"module": "a", "weights": {"forget": {"old": -1.0}}}]


def test_keys_go_on_into_arguments_and_a_class_alone_sets_all_of_them(tmp_path: Path) -> None:
    text = "overrides: {callbacks.GradientRouting.routes.0.weights.forget.old: -0.3, callbacks.ModelCheckpoint: {a: 1}}"
    (callbacks,) = expanded(tmp_path, text)
    assert callbacks[0]["init_args"] == {"a": 1}
    assert callbacks[1]["init_args"]["routes"] == [{"module": "a", "weights": {"forget": {"old": -0.3}}}]


def test_a_callback_without_arguments_gets_them(tmp_path: Path) -> None:
    text = "overrides: {callbacks.CoherenceTuning.steps: 2, callbacks.ModelCheckpoint.filename: last}\n"
    (callbacks,) = expanded(tmp_path, text)
    assert callbacks[3] == {"class_path": "lightning_vista.callbacks.CoherenceTuning", "init_args": {"steps": 2}}
    assert callbacks[0]["init_args"] == {"filename": "last"}


@pytest.mark.parametrize(("number", "place"), [("1", 2), ("2", 4), ("-1", 4), ("-2", 2)])
def test_callbacks_of_one_class_are_numbered(tmp_path: Path, number: str, place: int) -> None:
    (callbacks,) = expanded(tmp_path, f"overrides: {{callbacks.Ablation#{number}.regions: [c]}}\n")
    assert callbacks[place]["init_args"]["regions"] == ["c"]
    assert (
        sum(
            callback == {"class_path": "lightning_vista.callbacks.Ablation", "init_args": {"regions": ["c"]}}
            for callback in callbacks
        )
        == 1
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "callbacks.GradientRoutin.mask_weight",
            "'ModelCheckpoint', 'GradientRouting', .* Did you mean 'GradientRouting'",
        ),
        ("callbacks.Nothing.like.it", r"got 'Nothing'\.$"),
        (
            "callbacks.Ablation.regions",
            "got 2 among .* Use one of 'callbacks.Ablation#1.regions', 'callbacks.Ablation#2.regi",
        ),
        ("callbacks.Ablation#3.regions", "one of the numbers 1, 2, -2, -1 after '#', got '3'"),
        ("callbacks.Ablation#0.regions", "got '0'"),
        ("callbacks.Ablation#.regions", "got ''"),
        ("trainer.callbacks.1.init_args.mask_weight", "Use 'callbacks.GradientRouting.mask_weight'"),
        ("trainer.callbacks.-1.init_args.regions", "Use 'callbacks.Ablation#2.regions'"),
        ("trainer.callbacks.4", "Use 'callbacks.Ablation#2'"),
        ("trainer.callbacks.9.init_args.regions", "Use 'callbacks.<class>.regions'"),
        ("trainer.callbacks.Ablation.regions", "Use 'callbacks.<class>.regions'"),
        ("callbacks.GradientRouting.routes.1.module", "got no place"),
    ],
)
def test_keys_of_no_callback_are_refused(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        expanded(tmp_path, f"overrides: {{{key}: [c]}}\n")


@pytest.mark.parametrize("config", [{}, {"trainer": None}, {"trainer": {"callbacks": None}}])
def test_a_configuration_without_callbacks_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"callbacks \(none\)"):
        override(config, "callbacks.Ablation.regions", [])


def test_rows_are_named_by_the_ends_of_keys_that_differ(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(CONFIG)
    ablations = "callbacks.Ablation#1.at: [1], callbacks.Ablation#2.at: [2]"
    grid = f"grid: {{callbacks.GradientRouting.mask_weight: [0, 1], {ablations}}}"
    (tmp_path / "study.yaml").write_text(STUDY + grid)
    rows = [run.row for run in expand_study(read_study(tmp_path / "study.yaml"), tmp_path)]
    assert rows == [f"x, mask_weight {weight}, Ablation#1.at 1, Ablation#2.at 2" for weight in (0, 1)]
