"""The studies of absorption fit their configs, and run on tiny models or on few stories."""

from pathlib import Path

import pytest
import torch
from study_runs import printed_table

from lightning_vista.cli import main
from lightning_vista.models import LanguageModelModule
from lightning_vista.study import expand_study, read_study

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "configs/studies"
CIPHER = ROOT / "configs/unlearning/cipher"


def test_methods_see_the_same_texts_and_are_tested_after_cut_and_coherence_tuning() -> None:
    runs = expand_study(read_study(STUDIES / "absorption_pretrained.yaml"), "out")
    assert len({run.row for run in runs}) == 1 + 4 + 4 + 3 * 3 + 1
    for run in runs:
        data = run.config["data"]["init_args"]
        assert (data["seed"], data["labelled_first"], data["homogeneous"]) == ("{seed}", True, True)
        assert run.config["model"]["init_args"]["num_layers"] == data["hidden_states"]["init_args"]["num_layers"]
        callbacks = [callback["class_path"].rpartition(".")[2] for callback in run.config["trainer"]["callbacks"]]
        assert callbacks[-1] == "CoherenceTuning"
        assert run.commands["test"]["ckpt_path"].endswith("tuned.ckpt")
        is_cut = "Ablation" in callbacks
        assert is_cut != (run.variant == "plain" or run.variant.startswith("filtering"))
        assert ("exclude" in data) == (run.variant.startswith("filtering") or run.variant.endswith("left out"))


def test_tuning_gives_every_method_as_many_trials_on_another_seed() -> None:
    tuning, study = (read_study(STUDIES / f"absorption_{name}.yaml") for name in ("tuning", "pretrained"))
    names = [variant.name.rsplit(", ", 1)[0].split(", rate")[0] for variant in tuning.runs]
    assert {name: names.count(name) for name in names} == dict.fromkeys(
        ("filtering", "routing", "GRAM", "two adapters"), 4
    )
    assert not set(tuning.seeds) & set(study.seeds)
    assert set(tuning.metrics.values()) == {"val/loss/forget", "val/loss/retain"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows"), [("absorption_pretrained", 19), ("absorption_tuning", 16)])
def test_studies_run_small(name: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["pretrained", "runs/pretrained", "--tiny"])
    main(["study", str(STUDIES / f"{name}.yaml"), "--smoke", "--jobs", "2", "--out", "out"])
    assert len(printed_table(tmp_path / "out")) == rows + 2
    assert (tmp_path / "out/study.html").exists()


TINY = [
    "--data.num_stories", "320", "--data.validation_share", "0.1", "--data.test_share", "0.1", "--data.batch_size", "8",
    "--model.sizes.hidden_size", "16", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true",
]  # fmt: skip


def fit_cipher(folder: Path, *names: str, steps: int, **labels: float) -> dict[str, torch.Tensor]:
    """Train by the configs of two languages, and return the weights of the last checkpoint."""
    configs = [part for name in names for part in ("--config", str(CIPHER / f"{name}.yaml"))]
    shares = [part for name, share in labels.items() for part in (f"--data.labelling.{name}", str(share))]
    length = ["--trainer.max_steps", str(steps), "--trainer.default_root_dir", str(folder)]
    order = ["--data.labelled_first", "true"]  # else the first steps may have unlabelled texts
    main(["fit", *configs, *TINY, *length, *order, "--trainer.limit_val_batches", "1", *shares])
    saved = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = saved["state_dict"]
    return state


@pytest.mark.parametrize(
    ("labels", "still"),
    [
        ({"forget": 1.0, "retain": 0.0}, "core"),
        ({"forget": 0.0, "retain": 1.0}, "branch"),
        ({"forget": 0.0, "retain": 0.0}, ""),
    ],
)
def test_each_label_trains_its_part(labels: dict[str, float], still: str, tmp_path: Path) -> None:
    """Nothing else moves at all: after one and after three steps of a label, it is the same."""
    one, three = (fit_cipher(tmp_path / f"{steps}", "plain", "branch", steps=steps, **labels) for steps in (1, 3))
    moved = {"branch" if ".mlp.new." in name else "core" for name in one if not torch.equal(one[name], three[name])}
    assert moved == {"core", "branch"} - {still}


def test_the_cut_model_of_two_languages_is_a_plain_one(tmp_path: Path) -> None:
    trained = fit_cipher(tmp_path, "plain", "branch", steps=3)
    cut = torch.load(tmp_path / "ablated.ckpt", weights_only=True)["state_dict"]
    assert set(cut) == {name.replace(".mlp.old.", ".mlp.") for name in trained if ".mlp.new." not in name}
    rows = (tmp_path / "routing.csv").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith("parameters,unlabelled") for row in rows)


def test_sizes_of_the_cipher_models() -> None:
    millions = []
    for run in expand_study(read_study(STUDIES / "absorption_cipher_sizes.yaml"), "out", full=True):
        with torch.device("meta"):
            module = LanguageModelModule(**run.config["model"]["init_args"])
        layers = module.model.transformer.h
        count = round(sum(parameter.numel() for parameter in layers.parameters()) / 1e6, 1)
        millions += [] if count in millions else [count]
    assert millions == [0.3, 1.0, 3.2, 7.7]


@pytest.mark.parametrize("name", ["absorption_cipher", "absorption_cipher_sizes"])
def test_methods_of_two_languages_see_the_same_stories(name: str) -> None:
    runs = expand_study(read_study(STUDIES / f"{name}.yaml"), "out", full=True)
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        data = run.config["data"]["init_args"]
        assert (data["seed"], data["homogeneous"], "labelled_first" in data) == ("{seed}", "kinds", False)
        assert data["labelling"]["retain"] == 0.25
        callbacks = [callback["class_path"].rpartition(".")[2] for callback in run.config["trainer"]["callbacks"]]
        assert callbacks[-1] == "CoherenceTuning"
        assert run.commands["test"]["ckpt_path"].endswith("tuned.ckpt")
        assert ("Ablation" in callbacks) == run.variant.startswith("routing")
        assert ("exclude" in data) == (run.variant == "filtering" or run.variant.endswith("left out"))


def test_tuning_on_two_languages_gives_both_methods_three_trials_on_another_seed() -> None:
    tuning, study = (read_study(STUDIES / f"absorption_cipher{name}.yaml") for name in ("_tuning", ""))
    names = [variant.name.split(",")[0] for variant in tuning.runs]
    assert (names.count("filtering"), names.count("routing")) == (3, 3)
    assert not set(tuning.seeds) & set(study.seeds)
    assert set(tuning.metrics.values()) == {"val/loss/forget", "val/loss/retain"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"), [("absorption_cipher", 9), ("absorption_cipher_sizes", 6), ("absorption_cipher_tuning", 6)]
)
def test_studies_of_two_languages_run_small(name: str, rows: int, tmp_path: Path) -> None:
    main(["study", str(STUDIES / f"{name}.yaml"), "--smoke", "--jobs", "2", "--out", str(tmp_path)])
    table = printed_table(tmp_path)
    assert len(table) == rows + 2
    assert ("leakage" in table[0]) == ("tuning" not in name)
    assert (tmp_path / "study.html").exists()
