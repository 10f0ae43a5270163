import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from lightning_vista.callbacks import SteeringScalar
from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.models import LanguageModelModule

SIZES = {
    "hidden_size": 16, "num_layers": 2, "attention_types": [[["global"], 2]], "num_heads": 2, "intermediate_size": 32,
    "vocab_size": 1344, "max_position_embeddings": 144, "tie_word_embeddings": False,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
BLOCK = "model.transformer.h.1"


def data() -> StoriesDataModule:
    return StoriesDataModule(num_stories=300, forget_values=["sea"], test_share=0.2)


def measure(folder: Path, module: LanguageModelModule, **options: Any) -> dict[str, float]:
    steering = SteeringScalar(BLOCK, ["whale"], ["sea"], num_texts=20, new_tokens=12, **options)
    trainer = L.Trainer(
        default_root_dir=folder, callbacks=[steering], logger=False, accelerator="cpu", enable_progress_bar=False
    )
    (logged,) = trainer.test(module, data(), verbose=False)
    return dict(logged)


def module_with_a_unit_for(word: str) -> LanguageModelModule:
    """A model that says a word where unit 3 of the residual stream is large."""
    torch.manual_seed(0)
    module = LanguageModelModule("gpt_neo", SIZES)
    ready = data()
    ready.setup("test")
    (token,) = ready.tokenizer.encode(word, add_special_tokens=False)
    rows = module.model.get_output_embeddings().weight.data
    rows[:, 3] = 0
    rows[token, :] = 0
    rows[token, 3] = 5
    return module


def test_what_a_unit_means_is_seen_in_ranks_and_texts(tmp_path: Path) -> None:
    module = module_with_a_unit_for("whale")
    state = {name: value.clone() for name, value in module.state_dict().items()}
    logged = measure(tmp_path, module, unit=3, coefficients=[0, 100])
    assert logged["test/unembedding/target_rank"] == 1
    assert logged["test/unembedding/concept_rank"] > 1
    assert logged["test/steering/0/target"] < 0.05
    assert logged["test/steering/100/target"] > 0.9
    shares = [logged[f"test/steering/100/{name}"] for name in ("concept", "target", "related")]
    assert shares[0] == pytest.approx(shares[1] + shares[2])
    assert logged["test/steering/100/perplexity"] > logged["test/steering/0/perplexity"]
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    with (tmp_path / "unembedding.csv").open(encoding="utf-8") as file:
        assert next(iter(csv.DictReader(file))) == {"rank": "1", "token": "whale", "of_concept": "1"}
    assert "whale whale whale" in (tmp_path / "steered.txt").read_text(encoding="utf-8")


def test_prompts_may_begin_with_the_token_that_ends_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, ready = module_with_a_unit_for("whale"), data()
    ready.setup("test")
    ready.tokenizer.bos_token = ready.tokenizer.eos_token  # as GPT-2's
    ready.tokenizer.save_pretrained(tmp_path / "tokenizer")
    options: dict[str, Any] = {"num_stories": 300, "tokenizer": str(tmp_path / "tokenizer"), "add_bos": True}
    monkeypatch.setitem(globals(), "data", lambda: StoriesDataModule(forget_values=["sea"], test_share=0.2, **options))
    assert measure(tmp_path, module, unit=3, coefficients=[100])["test/steering/100/target"] > 0.9


def test_prompts_hold_no_end_of_a_text() -> None:
    # With rows of 100 tokens, the last ones of some stories are shorter than a prompt.
    ready = StoriesDataModule(num_stories=1000, forget_values=["sea"], max_length=100, test_share=0.2)
    ready.setup("test")
    count = sum(not row.is_forget for row in ready._rows["test"])
    rows = ready.sample("test", False, count, 0)
    is_long = rows["attention_mask"].sum(dim=1) > 8
    assert 0 < (~is_long).sum() < 20
    prompts = SteeringScalar(BLOCK, ["whale"], num_texts=int(is_long.sum()))._prompts(ready)
    assert torch.equal(prompts, rows["input_ids"][is_long][:, :8])
    with pytest.raises(ValueError, match="expected .* test texts to retain with more than 8 tokens, got fewer"):
        SteeringScalar(BLOCK, ["whale"], num_texts=int(is_long.sum()) + 1)._prompts(ready)


def test_the_seed_decides_what_is_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = LanguageModelModule("gpt_neo", SIZES)
    folders = [(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for folder, seed in folders:
        measure(folder, module, coefficients=[0], seed=seed)
    first, again, other = ((folder / "steered.txt").read_text() for folder, _ in folders)
    assert first == again != other


def test_what_cannot_be_steered_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one target"):
        SteeringScalar(BLOCK, [])
    steering = SteeringScalar(BLOCK, ["a whale"])
    trainer = L.Trainer(
        default_root_dir=tmp_path, callbacks=[steering], logger=False, accelerator="cpu", enable_progress_bar=False
    )
    with pytest.raises(ValueError, match=r"one token each, got \['a whale'\]"):
        trainer.test(LanguageModelModule("gpt_neo", SIZES), data(), verbose=False)
