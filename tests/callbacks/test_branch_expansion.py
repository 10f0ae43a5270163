from pathlib import Path

import lightning as L
import torch

from lightning_vista.callbacks import Ablation, BranchExpansion, GradientRouting
from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.models import LanguageModelModule
from lightning_vista.routing import LabelRule, Route
from lightning_vista.routing.surgery import Branches

SIZES = {
    "hidden_size": 8, "num_layers": 2, "attention_types": [[["global"], 2]], "num_heads": 2, "intermediate_size": 16,
    "vocab_size": 1344, "max_position_embeddings": 144, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
MLPS = "model.transformer.h.*.mlp"


def module() -> LanguageModelModule:
    torch.manual_seed(0)
    return LanguageModelModule("gpt_neo", SIZES, learning_rate=0.01, warmup_steps=1)


def trainer(folder: Path) -> L.Trainer:
    rule = LabelRule("known", {"forget": [1], "retain": [0]})
    routes = [
        Route(f"{MLPS}.old", rule, {"old": "rest"}, weights={"forget": {"old": 0.0}, "retain": {"old": 1.0}}),
        Route(f"{MLPS}.new", rule, {"new": "rest"}, weights={"forget": {"new": 1.0}, "retain": {"new": 1.0}}),
    ]
    callbacks = [
        BranchExpansion([MLPS], num_units=4), GradientRouting(routes), Ablation(["new"], at="end", mode="slice")
    ]  # fmt: skip
    return L.Trainer(
        max_steps=3, limit_val_batches=0, limit_test_batches=1, default_root_dir=folder, callbacks=callbacks,
        logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def data() -> StoriesDataModule:
    return StoriesDataModule(num_stories=100, batch_size=8)


def mlp(module: LanguageModelModule) -> torch.nn.Module:
    found: torch.nn.Module = module.get_submodule("model.transformer.h.0.mlp")
    return found


def test_a_checkpoint_decides_whether_there_are_branches(tmp_path: Path) -> None:
    trained = module()
    run = trainer(tmp_path)
    run.fit(trained, data())
    run.save_checkpoint(tmp_path / "last.ckpt")
    both = mlp(trained)
    assert isinstance(both, Branches)
    fresh = module()
    trainer(tmp_path).test(fresh, data(), ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert isinstance(mlp(fresh), Branches)
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in fresh.state_dict().items())
    trainer(tmp_path).test(fresh, data(), ckpt_path=str(tmp_path / "ablated.ckpt"), verbose=False)
    assert not isinstance(mlp(fresh), Branches)
    assert torch.equal(mlp(fresh).state_dict()["c_proj.weight"], both.old.state_dict()["c_proj.weight"])
    assert fresh.state_dict().keys() == module().state_dict().keys()
    trainer(tmp_path).test(fresh, data(), ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert isinstance(mlp(fresh), Branches)


def test_branches_are_added_once(tmp_path: Path) -> None:
    trained = module()
    for folder in ("first", "second"):
        trainer(tmp_path / folder).fit(trained, data())
    both = mlp(trained)
    assert isinstance(both, Branches)
    assert not isinstance(both.old, Branches)
