"""The studies of absorption in a pretrained model fit their configs, and run on a tiny model."""

from pathlib import Path

import pytest

from lightning_vista.cli import main
from lightning_vista.study import expand_study, read_study

STUDIES = Path(__file__).parents[2] / "configs/studies"


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
    table = (tmp_path / "out/results.md").read_text(encoding="utf-8").splitlines()
    assert len(table) == rows + 2
    assert (tmp_path / "out/study.html").exists()
