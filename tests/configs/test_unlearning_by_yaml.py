"""Expand, route, ablate, tune and attack by YAML, as the studies of unlearning do it."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from transformers import GPTNeoForCausalLM

from lightning_vista.cli import main, run_lightning

HIDDEN, NEW, MLPS = 16, 4, "model.transformer.h.*.mlp.act"


def callback(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": f"lightning_vista.callbacks.{name}", "init_args": options}


def routing(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": f"lightning_vista.routing.{name}", "init_args": options}


def config(folder: Path) -> Path:
    sizes = {
        "hidden_size": 8, "intermediate_size": HIDDEN, "num_layers": 2, "num_heads": 2, "vocab_size": 1344,
        "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 144,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    rule = routing("LabelRule", field="known", groups={"retain": [0], "forget": [1]})
    route = {"module": MLPS, "rule": rule, "regions": {"forget": f"-{NEW}:", "retain": "rest"}}
    tuning = {"num_samples": 8, "steps": 2, "num_evaluated": 4}
    callbacks = [
        callback("Expansion", modules=[MLPS], num_units=NEW),
        callback("GradientRouting", routes=[route]),
        callback("Ablation", regions=["forget"], at="end", mode="slice"),
        callback("CoherenceTuning", **tuning),
        callback("RelearningAttack", **{**tuning, "num_samples": [1, 2], "repeats": 1}),
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "last"}},
    ]
    content = {
        "model": {
            "class_path": "lightning_vista.models.LanguageModelModule",
            "init_args": {"model_type": "gpt_neo", "sizes": sizes, "learning_rate": 0.01, "warmup_steps": 1},
        },
        "data": {
            "class_path": "lightning_vista.datamodules.StoriesDataModule",
            "init_args": {"num_stories": 200, "batch_size": 8, "validation_share": 0.2, "test_share": 0.2},
        },
        "trainer": {
            "max_steps": 6, "limit_val_batches": 1, "limit_test_batches": 2, "accelerator": "cpu", "logger": False,
            "callbacks": callbacks, "enable_progress_bar": False, "default_root_dir": str(folder),
        },
    }  # fmt: skip
    path = folder / "unlearning.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_expand_route_ablate_tune_attack(tmp_path: Path) -> None:
    shared = ["--config", str(config(tmp_path))]
    main(["fit", *shared])
    columns = "model.transformer.h.1.mlp.c_proj.weight"
    trained, ablated, tuned = (
        weights(tmp_path / name) for name in ("checkpoints/last.ckpt", "ablated.ckpt", "tuned.ckpt")
    )
    assert torch.equal(trained[columns][:, :HIDDEN], ablated[columns])
    assert trained[columns][:, HIDDEN:].any()
    assert tuned[columns].shape == (8, HIDDEN)
    figures = {
        name: run_lightning(["test", *shared, "--ckpt_path", str(tmp_path / name)])
        for name in ("checkpoints/last.ckpt", "ablated.ckpt", "tuned.ckpt")
    }
    losses = [logged["test/loss/forget"] for logged in figures.values()]
    assert len(set(losses)) == 3
    for logged in figures.values():
        assert {f"test/relearned/{n}/{kind}" for n in (0, 1, 2) for kind in ("forget", "retain")} <= set(logged)
    with (tmp_path / "relearning.csv").open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 1 + 1 + 2 * 2
    # Both folders are of plain transformers, and continue as checkpoints of the module.
    model = GPTNeoForCausalLM.from_pretrained(tmp_path / "tuned")
    assert torch.equal(model.state_dict()["transformer.h.1.mlp.c_proj.weight"], tuned[columns])
    own = ["--model.model_type", "null", "--model.sizes", "null", "--model.checkpoint", str(tmp_path / "tuned")]
    again = run_lightning(["test", *shared, *own])
    assert again["test/loss/forget"] == pytest.approx(losses[2])  # expanded anew, which changes nothing
