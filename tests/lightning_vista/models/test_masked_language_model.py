from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_vista.callbacks import CoherenceTuning, GradientRouting, RelearningAttack, SteeringScalar
from lightning_vista.models import LanguageModelModule, MaskedLanguageModelModule
from lightning_vista.models.finetuning import DRAW, finetune
from lightning_vista.routing import LabelRule, MixtureRule, Route, TokenRule

MASK, BEGIN, PAD = 2, 1, 0
SIZES: dict[str, Any] = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 24,
    "max_position_embeddings": 16,
}  # fmt: skip
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ESM = SIZES | {"position_embedding_type": "rotary", "pad_token_id": PAD, "mask_token_id": MASK, "token_dropout": True}
QUIET: dict[str, Any] = {
    "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False,
    "accelerator": "cpu",
}  # fmt: skip


class Words:
    """As much of a tokenizer as the module asks for."""

    all_special_ids = (PAD, BEGIN, MASK)

    def __init__(self, mask_token_id: int | None = MASK) -> None:
        self.mask_token_id = mask_token_id

    def __len__(self) -> int:
        return 20


class Texts(L.LightningDataModule):
    """Random texts that begin with a special token; texts to forget have words of their own."""

    def __init__(self, batch_size: int = 6) -> None:
        super().__init__()
        self.tokenizer, self.batch_size = Words(), batch_size

    def rows(self, count: int = 18, seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        is_forget = torch.randint(2, (count,), generator=generator)
        ids = torch.randint(3, 11, (count, 10), generator=generator) + 9 * is_forget[:, None]
        ids[:, 0] = BEGIN
        lengths = torch.randint(3, 11, (count, 1), generator=generator)
        mask = (torch.arange(10) < lengths).long()
        return {"input_ids": ids * mask, "attention_mask": mask, "is_forget": is_forget}

    def train_dataloader(self) -> DataLoader[Any]:
        splits = [part.split(self.batch_size) for part in self.rows().values()]
        batches: Any = [dict(zip(self.rows(), parts, strict=True)) for parts in zip(*splits, strict=True)]
        return DataLoader(batches, batch_size=None)

    val_dataloader = test_dataloader = train_dataloader

    def sample(self, split: str, is_forget: bool, count: int, seed: int = 0) -> dict[str, Tensor]:
        rows = self.rows(200, seed=seed + len(split))
        chosen = (rows["is_forget"] == is_forget).nonzero().flatten()[:count]
        return {name: value[chosen] for name, value in rows.items()}


def small(model_type: str = "bert", **options: Any) -> MaskedLanguageModelModule:
    torch.manual_seed(0)
    sizes = ESM if model_type == "esm" else SIZES
    return MaskedLanguageModelModule(model_type=model_type, sizes=sizes, learning_rate=0.02, warmup_steps=1, **options)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(default_root_dir=folder, **QUIET | options)


def parameters(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.mark.parametrize("model_type", ["bert", "esm"])
def test_losses_are_those_of_transformers_over_chosen_tokens(tmp_path: Path, model_type: str) -> None:
    module = small(model_type).eval().requires_grad_(False)
    (logged,) = trainer(tmp_path).test(module, Texts(), verbose=False)
    rows = Texts().rows()
    seen: list[Tensor] = []
    handle = module.model.get_input_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    _, _, chosen = module.token_predictions(rows)
    handle.remove()
    special = torch.isin(rows["input_ids"], torch.tensor([PAD, BEGIN, MASK]))
    assert not (chosen & special).any()
    assert chosen.any(dim=1).all()
    assert (seen[0][chosen] == MASK).float().mean() > 0.5
    for group, value in (("forget", 1), ("retain", 0)):
        total, count = 0.0, 0
        for row in (rows["is_forget"] == value).nonzero().flatten().tolist():
            labels = torch.where(chosen[row], rows["input_ids"][row], -100)[None]
            mask = rows["attention_mask"][row][None]
            loss = module.model(input_ids=seen[0][row][None], attention_mask=mask, labels=labels).loss
            total, count = total + float(loss * chosen[row].sum()), count + int(chosen[row].sum())
        assert logged[f"test/loss/{group}"] == pytest.approx(total / count, rel=1e-5)


def test_evaluations_hide_the_same_tokens_in_batches_of_any_size(tmp_path: Path) -> None:
    module = small()
    (by_six,) = trainer(tmp_path).test(module, Texts(), verbose=False)
    (by_four,) = trainer(tmp_path).test(module, Texts(4), verbose=False)
    (again,) = trainer(tmp_path).validate(module, Texts(), verbose=False)
    (other,) = trainer(tmp_path).test(small(mask_seed=1), Texts(), verbose=False)
    for group in ("forget", "retain", "all"):
        assert by_six[f"test/loss/{group}"] == pytest.approx(by_four[f"test/loss/{group}"], rel=1e-6)
        assert by_six[f"test/loss/{group}"] == again[f"val/loss/{group}"]
        assert by_six[f"test/loss/{group}"] != other[f"test/loss/{group}"]


def test_training_steps_hide_other_tokens_and_resume_alike(tmp_path: Path) -> None:
    class Watched(MaskedLanguageModelModule):
        def token_predictions(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
            found = super().token_predictions(batch)
            if self.training:
                steps.append(found[2])
            return found

    class Saving(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "first.ckpt")

    def fit(checkpoint: Path | None, *callbacks: L.Callback) -> tuple[list[Tensor], list[Tensor]]:
        torch.manual_seed(0)
        steps.clear()
        module = Watched(model_type="bert", sizes=SIZES | NO_DROPOUT)
        fitting = trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=list(callbacks))
        fitting.fit(module, Texts(), ckpt_path=checkpoint)
        return list(steps), parameters(module)

    steps: list[Tensor] = []
    (whole, weights), (rest, resumed) = fit(None, Saving()), fit(tmp_path / "first.ckpt")
    assert not torch.equal(whole[0], whole[3])  # the same texts an epoch later
    assert all(map(torch.equal, rest, whole[3:]))
    assert all(map(torch.equal, resumed, weights))


@pytest.mark.parametrize("model_type", ["bert", "esm"])
def test_training_lowers_the_loss(tmp_path: Path, model_type: str) -> None:
    module = small(model_type)
    (before,) = trainer(tmp_path).test(module, Texts(), verbose=False)
    trainer(tmp_path, max_steps=60).fit(module, Texts())
    (after,) = trainer(tmp_path).test(module, Texts(), verbose=False)
    assert after["test/loss/all"] < before["test/loss/all"] - 0.3


def test_accumulated_batches_follow_the_mean_over_chosen_tokens(tmp_path: Path) -> None:
    class Descending(MaskedLanguageModelModule):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.5)

    def fit(size: int, parts: int) -> list[Tensor]:
        torch.manual_seed(0)
        module = Descending(model_type="bert", sizes=SIZES | NO_DROPOUT)
        fitting = trainer(tmp_path, max_epochs=1, accumulate_grad_batches=parts, limit_val_batches=0)
        fitting.fit(module.train(), Texts(size))
        return parameters(module)

    torch.testing.assert_close(fit(18, 1), fit(6, 3), rtol=1e-5, atol=1e-6)


def test_calibration_undoes_a_shifted_bias(tmp_path: Path) -> None:
    losses = []
    for shift, calibrate in ((0, False), (2, False), (2, True)):
        module = small(calibrate_bias=calibrate)
        module.model.cls.predictions.decoder.bias.data = shift * torch.randn(
            24, generator=torch.Generator().manual_seed(1)
        )
        (logged,) = trainer(tmp_path).test(module, Texts(), verbose=False)
        losses.append(logged["test/loss/retain"])
    assert losses[1] > losses[0] + 0.3
    assert losses[2] < losses[0]


def test_fine_tuning_hides_other_tokens_in_each_step_and_the_batch_size_changes_nothing() -> None:
    curves, draws = [], []

    class Watched(MaskedLanguageModelModule):
        def token_predictions(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
            draws.append(int(batch.get(DRAW, 0)))
            return super().token_predictions(batch)

    for size in (3, 8):
        torch.manual_seed(0)
        module = Watched(model_type="bert", sizes=SIZES, mask_token=MASK).eval()
        data = Texts()
        held_out = {"retain": data.sample("test", False, 6)}
        curves.append(finetune(module, data.sample("train", False, 8), held_out, 4, 0.01, batch_size=size))
    assert curves[0][-1]["retain"] == pytest.approx(curves[1][-1]["retain"], rel=1e-5)
    assert sorted(set(draws)) == [0, 1, 2, 3, 4]


def test_tuning_and_attack_work_on_it(tmp_path: Path) -> None:
    few: dict[str, Any] = {"steps": 2, "num_evaluated": 4}
    tuning, attack = CoherenceTuning(4, write="checkpoint", **few), RelearningAttack([2], repeats=1, **few)
    module = small()
    callbacks = [tuning, attack]
    trainer(tmp_path, max_steps=2, callbacks=callbacks).fit(module, Texts())
    (logged,) = trainer(tmp_path, callbacks=callbacks).test(module, Texts(), verbose=False)
    assert tuning.curve[0]["retain"] >= min(point["retain"] for point in tuning.curve)
    assert logged["test/relearned/2/forget"] <= logged["test/relearned/0/forget"]


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`mask_probability`: expected a number above 0"):
        small(mask_probability=0.0)
    with pytest.raises(ValueError, match="at most 1 together, got 0.8 and 0.3"):
        small(random_share=0.3)
    with pytest.raises(ValueError, match="`mask_token`: expected a token that hides others, .* got 3 and 2"):
        trainer(tmp_path).test(small("esm", mask_token=3), Texts())
    data = Texts()
    data.tokenizer = Words(mask_token_id=None)
    with pytest.raises(ValueError, match="`mask_token`: .* got None and None"):
        trainer(tmp_path).test(small(), data)
    with pytest.raises(ValueError, match="one of the model's 24 embeddings, got 30"):
        trainer(tmp_path).test(small(mask_token=30), data)
    with pytest.raises(ValueError, match="SteeringScalar: expected a model that generates texts, got BertForMaskedLM"):
        trainer(tmp_path, callbacks=[SteeringScalar("model.bert.encoder.layer.0", unit=0, targets=["a"])]).test(
            small(), Texts()
        )


def routed(folder: Path, module: LanguageModelModule, rule: Any, pattern: str, data: Any) -> None:
    route = Route(pattern, rule, {"forget": "0:2", "rest": "rest"})
    trainer(folder, max_steps=1, callbacks=[GradientRouting([route])]).fit(module, data)


@pytest.mark.parametrize("target", ["same", "next"])
def test_rules_of_tokens_must_name_the_token_that_a_position_predicts(tmp_path: Path, target: Any) -> None:
    words = TokenRule({"forget": list(range(12, 20))}, otherwise="rest", target=target)
    rule = MixtureRule([words, LabelRule("is_forget", {"forget": [1]})])
    mlp = "model.bert.encoder.layer.*.intermediate"
    if target == "same":
        routed(tmp_path, small(), rule, mlp, Texts())
        members = words.memberships(
            {"input_ids": torch.tensor([[12, 3, PAD]]), "attention_mask": torch.tensor([[1, 1, 0]])}
        )
        assert members.tolist() == [[[1, 0], [0, 1], [0, 0]]]
        return
    with pytest.raises(ValueError, match=r"expected 'same' .* got \['TokenRule'\]"):
        routed(tmp_path, small(), rule, mlp, Texts())


def test_causal_models_refuse_the_other_target(tmp_path: Path) -> None:
    sizes = {
        "hidden_size": 8, "num_layers": 1, "attention_types": [[["global"], 1]], "num_heads": 2, "vocab_size": 24,
        "max_position_embeddings": 16, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    rule = TokenRule({"forget": [12]}, otherwise="rest", target="same")
    with pytest.raises(ValueError, match="expected 'next' .* the next token at each position"):
        routed(tmp_path, LanguageModelModule("gpt_neo", sizes), rule, "model.transformer.h.*.mlp.act", Texts())
    with pytest.raises(ValueError, match="`target`: expected one of 'next', 'same', got 'this'"):
        TokenRule({"forget": [12]}, target="this")  # type: ignore[arg-type]
