import re
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from lightning_vista.callbacks import RepresentationMisdirection
from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.models import LanguageModelModule
from lightning_vista.models.misdirection import layer_outputs

SIZES = {
    "hidden_size": 16, "num_layers": 3, "attention_types": [[["global"], 3]], "num_heads": 2, "intermediate_size": 32,
    "vocab_size": 1344, "max_position_embeddings": 144, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
LAYER, TRAINED = "model.transformer.h.1", "model.transformer.h.[01].mlp.c_proj.weight"


def fitted(folder: Path, **options: object) -> tuple[L.LightningModule, StoriesDataModule]:
    L.seed_everything(0)
    module = LanguageModelModule("gpt_neo", SIZES, learning_rate=0.01, warmup_steps=1)
    data = StoriesDataModule(num_stories=400, batch_size=8, test_share=0.1)
    rmu = RepresentationMisdirection(LAYER, [TRAINED], norm=5.0, num_samples=16, batch_size=4, **options)  # type: ignore[arg-type]
    trainer = L.Trainer(
        max_steps=4, limit_val_batches=0, default_root_dir=folder, callbacks=[rmu], logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return module, data


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / "misdirected.ckpt", weights_only=False)["state_dict"]
    return state


def moved(folder: Path, alpha: float) -> dict[str, float]:
    """How far a layer's outputs move on held-out texts."""
    module, data = fitted(folder, steps=60, learning_rate=0.02, alpha=alpha)
    state = weights(folder)
    changed = {name for name, value in state.items() if not torch.equal(value, module.state_dict()[name])}
    assert changed == {f"model.transformer.h.{layer}.mlp.c_proj.weight" for layer in (0, 1)}
    rows = {group: data.sample("test", group == "forget", 2) for group in ("forget", "retain")}
    with torch.no_grad():
        before = {group: layer_outputs(module, LAYER, batch) for group, batch in rows.items()}
        module.load_state_dict(state)
        after = {group: layer_outputs(module, LAYER, batch) for group, batch in rows.items()}
    return {group: float((after[group] - before[group]).norm(dim=-1).mean()) for group in rows}


def test_forget_texts_are_moved_as_far_as_retain_texts_allow(tmp_path: Path) -> None:
    free, held = moved(tmp_path / "free", alpha=0.0), moved(tmp_path / "held", alpha=1000.0)
    # Of 5, the length of the random vector. Seeds 0 to 3: forget texts moved by 4.9 to 5.0, held retain texts by .02.
    assert free["forget"] > 2
    assert held["retain"] < 0.1 * free["retain"]
    assert (tmp_path / "free" / "misdirected" / "config.json").exists()


def test_the_seed_decides(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        fitted(tmp_path / folder, steps=2, seed=seed)
    first, again, other = (weights(tmp_path / folder) for folder in "abc")
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_unknown_parameters_are_refused(tmp_path: Path) -> None:
    module = LanguageModelModule("gpt_neo", SIZES)
    for pattern in ("model.nothing.*", "model.*.c_proj.weight"):  # `*` does not cross dots
        rmu = RepresentationMisdirection(LAYER, [pattern])
        with pytest.raises(ValueError, match=rf"expected a parameter of .* got {re.escape(repr(pattern))}"):
            rmu.finish(L.Trainer(logger=False, accelerator="cpu"), module)


def test_what_is_missing_is_said_before_training() -> None:
    rmu = RepresentationMisdirection(LAYER, [TRAINED])
    with pytest.raises(
        ValueError, match="RepresentationMisdirection: expected .* got LanguageModelModule and NoneType"
    ):
        rmu.on_fit_start(L.Trainer(logger=False, accelerator="cpu"), LanguageModelModule("gpt_neo", SIZES))
