"""The config of masked language models runs tiny, as BERT and as ESM-2, with routing and rates of its own."""

from pathlib import Path

import pytest
import torch
import yaml

from lightning_vista.cli import main, run_lightning

CONFIG = Path(__file__).parents[2] / "configs/routing/masked_language_model.yaml"
SIZES = {
    "vocab_size": 1344, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 144,
}  # fmt: skip
ESM = SIZES | {"position_embedding_type": "rotary", "pad_token_id": 0, "mask_token_id": 1343, "token_dropout": True}


@pytest.mark.parametrize(("model_type", "sizes"), [("bert", SIZES), ("esm", ESM)])
def test_the_config_trains_and_tests(tmp_path: Path, model_type: str, sizes: dict[str, object]) -> None:
    blocks = f"model.{model_type}.encoder.layer.*.intermediate"
    rule = {
        "class_path": "lightning_vista.routing.TokenRule",
        "init_args": {"groups": {"forget": ["bear", "owl"]}, "otherwise": "retain", "target": "same"},
    }
    routes = [{"module": blocks, "rule": rule, "regions": {"forget": "0:4", "retain": "rest"}}]
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    own = {"model_type": model_type, "sizes": sizes, "parameter_groups": {"*.layer.1.*": 5.0}}
    config["model"]["init_args"] |= own
    config["data"]["init_args"] |= {"num_stories": 100}
    routing = {"class_path": "lightning_vista.callbacks.GradientRouting", "init_args": {"routes": routes}}
    config["trainer"]["callbacks"].append(routing)
    config["trainer"] |= {
        "max_steps": 2, "val_check_interval": 2, "limit_test_batches": 2, "accelerator": "cpu",
        "default_root_dir": str(tmp_path), "enable_progress_bar": False,
    }  # fmt: skip
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["fit", "--config", str(path)])
    last = tmp_path / "checkpoints/last.ckpt"
    logged = run_lightning(["test", "--config", str(path), "--ckpt_path", str(last)])
    assert {f"test/loss/{group}" for group in ("forget", "retain", "all")} <= set(logged)
    rates = [group["lr"] for group in torch.load(last, weights_only=True)["optimizer_states"][0]["param_groups"]]
    assert rates[1] == pytest.approx(5 * rates[0])


def test_the_config_itself_trains(tmp_path: Path) -> None:
    tiny = ["--trainer.max_steps", "1", "--trainer.val_check_interval", "1", "--trainer.accelerator", "cpu"]
    main(
        [
            "fit",
            "--config",
            str(CONFIG),
            *tiny,
            "--data.num_stories",
            "100",
            "--trainer.default_root_dir",
            str(tmp_path),
        ]
    )
    assert (tmp_path / "checkpoints/last.ckpt").exists()
