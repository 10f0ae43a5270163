import copy
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import pytest
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


def usual_callbacks() -> list[L.Callback]:
    rule = LabelRule("known", {"forget": [1], "retain": [0]})
    routes = [
        Route(f"{MLPS}.old", rule, {"old": "rest"}, weights={"forget": {"old": 0.0}, "retain": {"old": 1.0}}),
        Route(f"{MLPS}.new", rule, {"new": "rest"}, weights={"forget": {"new": 1.0}, "retain": {"new": 1.0}}),
    ]
    return [BranchExpansion([MLPS], num_units=4), GradientRouting(routes), Ablation(["new"], at="end", mode="slice")]


def trainer(folder: Path, callbacks: Sequence[L.Callback] = ()) -> L.Trainer:
    return L.Trainer(
        max_steps=3, limit_val_batches=0, limit_test_batches=1, default_root_dir=folder,
        callbacks=list(callbacks) or usual_callbacks(), logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False,
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


def test_a_checkpoint_decides_which_of_several_branches_there_are(tmp_path: Path) -> None:
    def run(*cut: str) -> L.Trainer:
        rule = LabelRule("known", {"bio": [1], "cyber": [0]})
        routes = [Route(f"{MLPS}.{name}", rule, {name: "rest"}) for name in ("bio", "cyber")]
        topics = [BranchExpansion([MLPS], num_units=number, name=name) for number, name in ((4, "bio"), (3, "cyber"))]
        ablations = [Ablation(list(cut), at="end", mode="slice")] if cut else []
        return trainer(tmp_path / "-".join(cut), [*topics, GradientRouting(routes), *ablations])

    trained, names = module(), {"": ["bio", "cyber"], "bio": ["cyber"], "cyber": ["bio"], "bio-cyber": []}
    for cut, left in names.items():
        training = run(*cut.split("-")) if cut else run()
        training.fit(trained, data())
        if not cut:
            training.save_checkpoint(tmp_path / "ablated.ckpt")
        saved = torch.load(tmp_path / cut / "ablated.ckpt", weights_only=True)["state_dict"]
        for fresh in (module(), trained):  # one without branches yet, and one that has both
            copied = copy.deepcopy(fresh)
            run().test(copied, data(), ckpt_path=str(tmp_path / cut / "ablated.ckpt"), verbose=False)
            found = mlp(copied)
            assert (found.names if isinstance(found, Branches) else []) == left
            assert all(torch.equal(value, saved[name]) for name, value in copied.state_dict().items())
        assert saved.keys() == copied.state_dict().keys()


def test_two_branches_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = [BranchExpansion([MLPS], num_units=4, name="bio") for _ in range(2)]
    with pytest.raises(ValueError, match="`name`: expected different names for expansions of one module, got 'bio'"):
        trainer(tmp_path, twice).fit(module(), data())
    with pytest.raises(ValueError, match="`name`: expected an identifier other than 'old', got 'old'"):
        BranchExpansion([MLPS], num_units=4, name="old")


def test_branches_have_no_mean_to_keep(tmp_path: Path) -> None:
    callbacks = [*usual_callbacks()[:2], Ablation(["new"], at="end", mode="mean")]
    with pytest.raises(ValueError, match="`mode`: expected 'zero' or 'slice' for whole branches, got 'mean'"):
        trainer(tmp_path, callbacks).fit(module(), data())


def test_old_units_are_cut_together_with_the_last_branch(tmp_path: Path) -> None:
    rule = LabelRule("known", {"new": [1], "few": [0]})
    routes = [
        Route(f"{MLPS}.new", rule, {"new": "rest"}),
        Route(f"{MLPS}.old.act", rule, {"few": ":2", "most": "rest"}),
    ]
    callbacks = [usual_callbacks()[0], GradientRouting(routes), Ablation(["new", "few"], at="end", mode="slice")]
    trainer(tmp_path, callbacks).fit(module(), data())
    saved = torch.load(tmp_path / "ablated.ckpt", weights_only=True)["state_dict"]
    assert saved["model.transformer.h.0.mlp.c_fc.weight"].shape == (14, 8)
