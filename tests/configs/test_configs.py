"""Every YAML under `configs/vista/` runs, on tiny data and stub weights."""

import warnings
from pathlib import Path

import pytest
from tiny_checkpoints import save_clip, save_open_clip, save_pe_core, save_siglip, save_viclip, siglip2_tokenizer
from tiny_encoders import save_s3d, save_xclip
from tiny_video_models import save_qwen3_vl

from lightning_vista.cli import main
from lightning_vista.scorers.dual.pretraining import FrameEncoder, save_weights
from lightning_vista.vista.tables import read_scores

ROOT = Path(__file__).parents[2]
#: What trains, each with what makes it small enough for a test.
TRAINING = {
    "configs/vista/frames.yaml": ["--data.batch_size", "8", "--data.val_batches", "1"],
    "configs/vista/dual_encoder.yaml": ["--data.sets_per_batch", "2", "--data.val_scale", "0.01"],
}
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs" / "vista").glob("*.yaml"))
#: What is run by `test_chat_configs.py`.
NAMES = (
    *("gpt4o", "anthropic", "gemini", "openrouter", "vllm_server", "ollama", "likelihood_endpoint"),
    *("local_chat", "vllm", "likelihood"),
)
CHATS = [f"configs/vista/{name}.yaml" for name in NAMES]
EVALUATIONS = [config for config in CONFIGS if config not in TRAINING and config not in CHATS]


def overrides(config: str, folder: Path) -> list[str]:
    """What makes a config small enough for a test; a config that is not named here needs nothing."""
    if config in ("configs/vista/clip.yaml", "configs/vista/clip_small.yaml"):
        return ["--model.model", save_clip(folder / "tiny-clip")]
    if config == "configs/vista/clip_open.yaml":
        return ["--model.model", save_open_clip(folder / "tiny-clip"), "--model.pretrained", "null"]
    if config == "configs/vista/siglip2.yaml":
        return ["--model.model", save_siglip(folder / "tiny-siglip2", siglip2_tokenizer())]
    if config == "configs/vista/viclip.yaml":
        return ["--model.weights", save_viclip(folder)]
    if config == "configs/vista/s3d.yaml":
        weights, words = save_s3d(folder)
        return ["--model.weights", weights, "--model.words", words, "--model.num_frames", "8", "--model.size", "32"]
    if config == "configs/vista/xclip.yaml":
        return ["--model.model", save_xclip(folder / "tiny-xclip")]
    if config == "configs/vista/pe_core.yaml":
        return [
            "--model.model",
            save_pe_core(folder / "tiny-pe"),
            "--model.pretrained",
            "null",
            "--model.num_frames",
            "2",
        ]
    if config.startswith("configs/vista/qwen_"):
        tiny = ["--model.model", save_qwen3_vl(folder / "tiny-qwen"), "--model.dtype", "float32"]
        return [*tiny, "--model.num_frames", "2", "--model.size", "64"]
    if config == "configs/vista/shipped.yaml":
        return ["--model.allow_unknown", "true"]  # the tiny data has words of its own
    return []


@pytest.mark.parametrize("config", EVALUATIONS)
def test_the_config_runs(config: str, shards: Path, tmp_path: Path) -> None:
    arguments = ["test", "--config", str(ROOT / config), "--data.shards", str(shards), "--data.num_workers", "0"]
    arguments += ["--evaluation.run_dir", str(tmp_path / "run"), "--trainer.accelerator", "cpu"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*descriptions were truncated")  # the stub reads 24 characters
        warnings.filterwarnings("ignore", ".*does not know the words")
        main([*arguments, *overrides(config, tmp_path)])
    rows = read_scores(tmp_path / "run").rows
    assert rows.height == 40
    assert rows["score"].null_count() == 0
    assert (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # it is to be gone on with
@pytest.mark.parametrize("config", TRAINING)
def test_the_config_trains_and_goes_on(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lightning_vista.mini.training_groups.CHUNK", 3)
    if "dual_encoder" in config:
        encoder = FrameEncoder()
        save_weights(encoder, {"tower": "small-cnn", "size": 96, "dim": 192}, "runs/frames/encoder.safetensors")
    arguments = ["fit", "--config", str(ROOT / config), *TRAINING[config], "--data.num_workers", "0"]
    arguments += ["--trainer.accelerator", "cpu", "--trainer.val_check_interval", "1"]
    arguments += ["--trainer.enable_model_summary", "false"]  # it warns of bfloat16
    arguments += ["--trainer.callbacks.init_args.every_n_train_steps", "1"]
    main([*arguments, "--trainer.max_steps", "1"])
    (checkpoint,) = Path("runs").rglob("last.ckpt")
    weights = Path("runs/frames/encoder.safetensors" if "frames" in config else "runs/dual/temporal.safetensors")
    before = weights.read_bytes()
    main([*arguments, "--trainer.max_steps", "2", "--ckpt_path", str(checkpoint)])
    assert weights.read_bytes() != before
