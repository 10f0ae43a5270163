"""Every YAML under `configs/vista/regions/` trains and is tested, on tiny data."""

import importlib
from pathlib import Path

import pytest
import torch
from study_runs import printed_table
from tiny_checkpoints import save_clip, save_siglip, siglip2_tokenizer

from lightning_vista.cli import main, run_lightning

FOLDER = Path(__file__).parents[2] / "configs/vista/regions"
ROUTED = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in ("base", "clip"))
SMALL = [
    *("--data.first_chunks", "1", "--data.level_every", "1", "--data.sets_per_batch", "4", "--data.test_scale", "0.01"),
    *("--data.test_split", "val", "--trainer.accelerator", "cpu", "--trainer.enable_model_summary", "false"),
]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_vista.mini.training_groups.CHUNK", 12)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("groups"))


@pytest.mark.parametrize("name", ROUTED)
def test_the_config_trains_and_measures_profiles(name: str, cache: str, tmp_path: Path) -> None:
    configs = [part for file in ("base", name) for part in ("--config", str(FOLDER / f"{file}.yaml"))]
    options = [*configs, *SMALL, "--data.cache_dir", cache, "--trainer.default_root_dir", str(tmp_path)]
    options += ["--model.out", str(tmp_path / "scorer.safetensors")]
    # The attack is the last callback.
    attack = ["--trainer.callbacks.init_args.num_sets", "[1]", "--trainer.callbacks.init_args.steps", "1"]
    main(["fit", *options, *attack, "--trainer.max_steps", "20"])
    checkpoint = str(tmp_path / "checkpoints" / "last.ckpt")
    metrics = run_lightning(["test", *options, *attack, "--ckpt_path", checkpoint])
    tested = "craft/remix" if name.startswith("world") else "home/permutation_go_only"
    assert 0 <= metrics[f"test/f1/{tested}"] <= 1
    assert 0 <= metrics[f"test/relearned/1/f1/{tested}"] <= 1
    if not name.endswith("_filtered") and name != "stairs":  # which has no cut
        profiles = {key.split("/")[2] for key in metrics if key.startswith("test/profile/")}
        assert {"whole", "cut"} <= profiles
        assert metrics["test/profile/cut/f1/home/objects"] == pytest.approx(
            metrics["test/relearned/0/f1/home/objects"], abs=1e-6
        )


@pytest.mark.filterwarnings("ignore:.*descriptions were truncated")  # the stub reads 24 tokens
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_clip_and_siglip_are_fine_tuned_with_a_module(family: str, cache: str, tmp_path: Path) -> None:
    folder = tmp_path / family
    model = save_clip(folder) if family == "clip" else save_siglip(folder, siglip2_tokenizer())
    options = ["--config", str(FOLDER / "clip.yaml"), "--model.model", model, "--model.num_frames", "4", *SMALL]
    options += ["--model.learning_rate", "0.01", "--data.num_workers", "0", "--data.cache_dir", cache]
    options += ["--trainer.default_root_dir", str(tmp_path), "--trainer.callbacks.init_args.every_n_train_steps", "1"]
    main(["fit", *options, "--trainer.max_steps", "6"])
    checkpoint = str(tmp_path / "checkpoints" / "last.ckpt")
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert any(".mlp.skill." in name for name in weights)
    metrics = run_lightning(["test", *options, "--ckpt_path", checkpoint])
    assert {"test/profile/whole/f1/home/pick_v_put", "test/profile/cut/f1/home/objects"} <= metrics.keys()


@pytest.mark.slow
def test_the_studies_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    studies = FOLDER.parents[1] / "studies"
    main(["study", str(studies / "scorer_regions.yaml"), "--smoke", "--jobs", "2", "--out", "out"])
    assert len(printed_table(tmp_path / "out")) == 2 + 15
    monkeypatch.syspath_prepend(str(FOLDER.parents[2] / "benchmarks"))
    read = importlib.import_module("scorer_regions").figures(tmp_path / "out")
    assert {row.state for row in read if row.run == "order, routed"} >= {"whole", "cut"}
    weights = tmp_path / "out/runs/order_routed/seed_0/scorer.safetensors"
    (tmp_path / "runs/regions").mkdir(parents=True, exist_ok=True)
    weights.rename(tmp_path / "runs/regions/scorer.safetensors")
    main(["study", str(studies / "scorer_regions_reward.yaml"), "--smoke", "--jobs", "2", "--out", "reward"])
    rows = printed_table(tmp_path / "reward")[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["with order", "order cut"]
