import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from lightning_vista.models import LanguageModelModule
from lightning_vista.models.token_losses import next_token_losses
from lightning_vista.models.warmup_cosine import warmup_cosine
from lightning_vista.routing import LabelRule, Route, Router

VOCABULARY = 20
SIZES = {
    "hidden_size": 8, "num_layers": 2, "attention_types": [[["global"], 2]], "num_heads": 2, "intermediate_size": 12,
    "vocab_size": VOCABULARY, "max_position_embeddings": 16, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
MLPS = "model.transformer.h.*.mlp.act"


class Texts(L.LightningDataModule):
    """Random rows of different lengths; retain rows use half of the vocabulary."""

    def __init__(self, tokens: int = VOCABULARY) -> None:
        super().__init__()
        self.tokenizer = range(tokens)

    def batches(self) -> list[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        batches = []
        for _ in range(3):
            is_forget = torch.randint(2, (6,), generator=generator)
            ids = torch.randint(VOCABULARY // 2, (6, 10), generator=generator) + 10 * is_forget[:, None]
            lengths = torch.randint(2, 11, (6, 1), generator=generator)
            batches.append(
                {"input_ids": ids, "attention_mask": (torch.arange(10) < lengths).long(), "is_forget": is_forget}
            )
        return batches

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches(), batch_size=None)  # type: ignore[arg-type] # a list is a dataset

    val_dataloader = test_dataloader = train_dataloader


def small_module(**options: Any) -> LanguageModelModule:
    torch.manual_seed(0)
    return LanguageModelModule("gpt_neo", SIZES, **options)


def loss_without_trainer(module: LanguageModelModule, batch: dict[str, Tensor]) -> Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "log", lambda *_args, **_options: None)
        return module.training_step(batch, 0)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", default_root_dir=folder, enable_checkpointing=False, **quiet, **options)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_losses_of_groups_weigh_tokens_alike(tmp_path: Path, stage: str) -> None:
    module = small_module().eval().requires_grad_(False)
    (logged,) = getattr(trainer(tmp_path), stage)(module, Texts(), verbose=False)
    for group, value in (("forget", 1), ("retain", 0)):
        total, count = 0.0, 0
        for batch in Texts().batches():
            for ids, mask, is_forget in zip(*batch.values(), strict=True):  # row by row, by transformers itself
                if is_forget == value:
                    row = ids[mask.bool()][None]
                    total += float(module.model(input_ids=row, labels=row).loss) * (row.shape[1] - 1)
                    count += row.shape[1] - 1
        assert logged[f"{'val' if stage == 'validate' else 'test'}/loss/{group}"] == pytest.approx(total / count, 1e-5)


def test_training_lowers_the_loss_and_the_rate_falls_to_a_tenth(tmp_path: Path) -> None:
    module = small_module(learning_rate=0.02, warmup_steps=3)
    (before,) = trainer(tmp_path).test(module, Texts(), verbose=False)
    fitting = trainer(tmp_path, max_steps=30)
    fitting.fit(module, Texts())
    (after,) = trainer(tmp_path).test(module, Texts(), verbose=False)
    assert after["test/loss/all"] < before["test/loss/all"] - 0.3
    assert fitting.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.002)


def test_l1_is_the_sum_over_units_and_layers(tmp_path: Path) -> None:
    module = small_module(activation_l1=0.5, activation_modules=[MLPS])
    plain = small_module()
    (batch, *_) = Texts().batches()
    seen: list[Tensor] = []
    for block in plain.model.transformer.h:
        block.mlp.act.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    expected = loss_without_trainer(plain, batch).detach()
    tokens = [(layer, row, place) for layer in (0, 1) for row, place in batch["attention_mask"].nonzero().tolist()]
    penalty = sum(float(seen[layer][row, place].abs().sum()) for layer, row, place in tokens)
    actual = loss_without_trainer(module, batch).detach()
    assert float(actual) == pytest.approx(float(expected) + 0.5 * penalty / (len(tokens) / 2), rel=1e-5)
    assert not any(m._forward_hooks for m in module.modules())


def test_l1_reaches_units_that_are_not_routed_to() -> None:
    (batch, *_) = Texts().batches()
    gradients = []
    for weight in (0.0, 1.0):
        module = small_module(activation_l1=weight, activation_modules=[MLPS])
        everyone = LabelRule("is_forget", {"rest": [0, 1]})
        router = Router([Route(MLPS, everyone, {"blocked": "0:4", "rest": "rest"})])
        router.attach(module)
        router.compute(batch)
        loss_without_trainer(module, batch).backward()
        gradients.append(module.model.transformer.h[1].mlp.c_fc.weight.grad[:4])
    assert not gradients[0].any()
    assert gradients[1].any()


def test_calibration_undoes_a_shifted_bias(tmp_path: Path) -> None:
    losses = {}
    for name, shift, calibrate in (
        ("plain", 0, False),
        ("shifted", 2, False),
        ("calibrated", 2, True),
        ("best", 0, True),
    ):
        module = small_module(calibrate_bias=calibrate)
        module.model.lm_head = nn.Linear(8, VOCABULARY)
        torch.manual_seed(1)
        nn.init.normal_(module.model.lm_head.weight, std=0.1)
        module.model.lm_head.bias.data = shift * torch.randn(VOCABULARY)
        (logged,) = trainer(tmp_path).test(module, Texts(), verbose=False)
        losses[name] = logged["test/loss/retain"]
        assert module.output_bias is None
    assert losses["shifted"] > losses["plain"] + 0.3
    assert losses["calibrated"] == pytest.approx(losses["best"], abs=0.01)
    assert losses["best"] < losses["plain"]  # half of the words do not occur


def test_a_checkpoint_folder(tmp_path: Path) -> None:
    module = small_module()
    module.model.save_pretrained(tmp_path)
    loaded = LanguageModelModule(checkpoint=str(tmp_path))
    ids = torch.randint(VOCABULARY, (2, 5))
    torch.testing.assert_close(loaded(ids), module(ids))
    assert loaded.model.training


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`model_type`, `checkpoint`: expected exactly one"):
        LanguageModelModule()
    with pytest.raises(ValueError, match="at least one pattern for `activation_l1`"):
        LanguageModelModule("gpt_neo", SIZES, activation_l1=1e-4)
    with pytest.raises(ValueError, match="the 30 tokens of the datamodule's tokenizer, got 20 embeddings"):
        trainer(tmp_path).test(small_module(), Texts(30))
    with pytest.raises(ValueError, match="Set `max_steps` or `max_epochs`"):
        trainer(tmp_path, max_epochs=-1).fit(small_module(), Texts())
    with pytest.raises(ValueError, match="expected one for `calibrate_bias`"):
        trainer(tmp_path).test(small_module(calibrate_bias=True), Texts().test_dataloader())


def test_the_logits_of_tokens_are_those_behind_their_losses() -> None:
    module, batch = small_module().eval(), Texts().batches()[0]
    (logits, is_token), (losses, mask) = module.token_logits(batch), module.token_losses(batch)
    assert torch.equal(is_token, mask)
    targets = batch["input_ids"][:, 1:][mask]
    torch.testing.assert_close(cross_entropy(logits[mask], targets, reduction="none"), losses[mask])


def test_next_token_losses_are_those_of_the_targets() -> None:
    logits, ids = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    expected = torch.tensor([[-float(logits[b, t].log_softmax(0)[ids[b, t + 1]]) for t in range(4)] for b in range(2)])
    torch.testing.assert_close(next_token_losses(logits, ids), expected)


def rate(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the share of the highest learning rate by the formula (gradient routing, section 4.2.2)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2


@pytest.mark.parametrize(("warmup_steps", "total_steps"), [(50, 600), (0, 10), (1, 10), (5, 3), (10, 11), (100, 2000)])
def test_the_learning_rate_is_that_of_the_formula(warmup_steps: int, total_steps: int) -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = warmup_cosine(optimizer, warmup_steps, total_steps)
    for step in range(total_steps + 20):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate(step, warmup_steps, total_steps), abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("done", [3, 5, 9, 30])
def test_a_schedule_resumes_where_it_was(done: int) -> None:
    optimizers = [torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0) for _ in range(2)]
    first, second = (warmup_cosine(optimizer, 5, 25) for optimizer in optimizers)
    for _ in range(done):
        optimizers[0].step()
        first.step()
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    second.load_state_dict(first.state_dict())
    optimizers[1].step()
    second.step()
    assert optimizers[1].param_groups[0]["lr"] == pytest.approx(rate(done + 1, 5, 25), abs=1e-12)


def fitted(folder: Path, steps: int, checkpoint: Path | None = None, **options: Any) -> tuple[Any, L.Trainer]:
    """Train with a rate of its own for the first block, and with frozen embeddings."""
    own: dict[str, Any] = {"parameter_groups": {"model.transformer.h.0.*": 5.0}, "freeze": ["*.wte.*", "*.wpe.*"]}
    module = small_module(learning_rate=0.02, warmup_steps=3, **own | options)
    training = trainer(folder, max_steps=steps)
    training.fit(module, Texts(), ckpt_path=checkpoint)
    return module, training


def test_rates_of_their_own_are_those_of_groups_by_hand(tmp_path: Path) -> None:
    class ByHand(LanguageModelModule):
        def configure_optimizers(self) -> Any:
            blocks = self.model.transformer.h
            rest = [*blocks[1].parameters(), *self.model.transformer.ln_f.parameters()]
            groups: list[dict[str, Any]] = [{"params": list(blocks[0].parameters()), "lr": 0.1}, {"params": rest}]
            optimizer = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95), weight_decay=0.1)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, 3, 8))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    module, training = fitted(tmp_path, 8)
    torch.manual_seed(0)
    expected = ByHand("gpt_neo", SIZES)
    for embedding in (expected.model.transformer.wte, expected.model.transformer.wpe):
        embedding.requires_grad_(False)
    frozen = expected.model.transformer.wte.weight.clone()
    trainer(tmp_path, max_steps=8).fit(expected, Texts())
    for (name, ours), theirs in zip(module.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7, msg=name)
    assert torch.equal(module.model.transformer.wte.weight, frozen)
    assert all(parameter.requires_grad for parameter in module.parameters())
    rates = {round(group["lr"], 6) for group in training.optimizers[0].param_groups}
    assert rates == {0.002, 0.01}  # a tenth of their own
    owned = {id(p) for group in training.optimizers[0].param_groups for p in group["params"]}
    assert id(module.model.transformer.wte.weight) not in owned


def test_a_resumed_run_with_rates_of_their_own_equals_an_undisturbed_one(tmp_path: Path) -> None:
    class Saving(L.Callback):
        """Saves a checkpoint on the way, so that both runs have the same schedule."""

        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "third.ckpt")

    whole = small_module(learning_rate=0.02, warmup_steps=3, parameter_groups={"*.h.0.*": 5.0}, freeze=["*.wpe.*"])
    trainer(tmp_path, max_steps=8, callbacks=[Saving()]).fit(whole, Texts())
    options: dict[str, Any] = {"parameter_groups": {"*.h.0.*": 5.0}, "freeze": ["*.wpe.*"]}
    resumed, _ = fitted(tmp_path, 8, tmp_path / "third.ckpt", **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_rates_of_their_own_that_are_wrong_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got '\*\.new\.\*'"):
        trainer(tmp_path, max_steps=1).fit(small_module(parameter_groups={"*.new.*": 15.0}), Texts())
    with pytest.raises(ValueError, match="`freeze`: expected a parameter"):
        trainer(tmp_path, max_steps=1).fit(small_module(freeze=["model.wte"]), Texts())


def test_the_schedule_keeps_the_ratio_of_groups() -> None:
    tensors = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    groups: list[dict[str, Any]] = [{"params": tensors[:1]}, {"params": tensors[1:], "lr": 15.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    scheduler = warmup_cosine(optimizer, 5, 25)
    for step in range(40):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([rate(step, 5, 25), 15 * rate(step, 5, 25)], abs=1e-12)
        optimizer.step()
        scheduler.step()
