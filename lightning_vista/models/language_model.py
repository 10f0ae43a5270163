"""Causal language models of transformers, to be trained on texts part of which is to be forgotten."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from lightning_vista.metrics.group_means import GroupMeans
from lightning_vista.models.token_losses import activation_l1, expected_counts, fit_output_bias, next_token_losses
from lightning_vista.optional import require
from lightning_vista.routing.naming import find_modules

Batch = Mapping[str, Tensor]
#: `is_forget` of the rows of each group.
_GROUPS = {"forget": [1], "retain": [0], "all": [0, 1]}
#: Training batches whose retain rows tell the calibrated bias.
_CALIBRATION_BATCHES = 16


class LanguageModelModule(L.LightningModule):
    """A causal language model of transformers, of random weights or those of a folder.

    Nothing here routes: a `GradientRouting` callback on modules of `model` does, and without it this is ordinary
    training. Batches are `{"input_ids", "attention_mask": (batch, tokens), "is_forget": (batch,) of 0 and 1}`.

    `val/loss/<group>` and `test/loss/<group>`, group being `forget`, `retain` or `all`, are mean cross-entropies over
    the group's tokens, in nats.

    Args:
        model_type: What transformers calls the architecture, such as `gpt_neo` or `llama`; for random weights.
        sizes: Its configuration, such as `{"hidden_size": 64, "num_layers": 4, "vocab_size": 1344}`.
        checkpoint: In place of these: the folder, or the name, of a model that transformers knows.
        learning_rate: The highest of AdamW; it rises for `warmup_steps`, then falls as a cosine to a tenth.
        warmup_steps: In optimizer steps.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        activation_l1: What the L1 penalty on the outputs of `activation_modules` counts. It looks at them before they
            are routed, so that all data shrinks all units.
        activation_modules: Names or patterns of modules, such as `model.transformer.h.*.mlp.act`.
        calibrate_bias: Whether a test begins with fitting a bias of the logits to the training data's retain texts.
            What was cut out of a model shifts how often it expects each word; without that shift losses are comparable.

    Raises:
        ValueError: If there is not one of `model_type` and `checkpoint`; if an L1 penalty has no modules.
        ModuleNotFoundError: If transformers is missing; the message names the extra.

    Example:
        >>> sizes = {"hidden_size": 8, "num_layers": 1, "attention_types": [[["global"], 1]], "num_heads": 2}
        >>> module = LanguageModelModule("gpt_neo", {**sizes, "vocab_size": 50})
        >>> module(torch.tensor([[3, 1, 4]])).shape
        torch.Size([1, 3, 50])
    """

    def __init__(
        self,
        model_type: str | None = None,
        sizes: dict[str, Any] | None = None,
        checkpoint: str | None = None,
        learning_rate: float = 5e-4,
        warmup_steps: int = 100,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.95),
        activation_l1: float = 0.0,
        activation_modules: Sequence[str] = (),
        calibrate_bias: bool = False,
    ) -> None:
        super().__init__()
        if (model_type is None) == (checkpoint is None):
            raise ValueError(f"Expected a model_type or a checkpoint, got {model_type!r} and {checkpoint!r}.")
        if activation_l1 and not activation_modules:
            raise ValueError("activation_l1 needs activation_modules, such as 'model.transformer.h.*.mlp.act'.")
        self.model: Any = build_model(model_type, sizes or {}) if model_type else load_model(checkpoint or "")
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.weight_decay, self.betas = weight_decay, betas
        self.activation_l1, self.activation_modules = activation_l1, list(activation_modules)
        self.calibrate_bias = calibrate_bias
        self.output_bias: Tensor | None = None
        self.losses = GroupMeans(["loss"], _GROUPS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of the token after each position, `(batch, tokens, vocabulary)`."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        return logits if self.output_bias is None else logits + self.output_bias

    def token_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of each token but the first, in nats, and whether it is no padding, both `(batch, tokens - 1)`."""
        logits = self(batch["input_ids"], batch["attention_mask"])
        return next_token_losses(logits, batch["input_ids"]), batch["attention_mask"][:, 1:].bool()

    def setup(self, stage: str) -> None:
        """See to it that the model has a place for every token.

        Raises:
            ValueError: If the datamodule's tokenizer has more tokens than the model.
        """
        tokenizer = getattr(getattr(self.trainer, "datamodule", None), "tokenizer", None)
        places = self.model.get_input_embeddings().num_embeddings
        if tokenizer is not None and len(tokenizer) > places:
            raise ValueError(
                f"The datamodule's tokenizer has {len(tokenizer)} tokens and the model has embeddings of {places}: "
                f"set `vocab_size` in the model's `sizes` to at least {len(tokenizer)}, or `tokenizer` of the data to "
                "the checkpoint's folder."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss over tokens, plus the L1 penalty."""
        with self._captured() as activations:
            losses, mask = self.token_losses(batch)
        loss = losses[mask].mean()
        self.log("train/loss", loss, prog_bar=True)
        if self.activation_l1:
            penalty = activation_l1(activations, batch["attention_mask"])
            self.log("train/activation_l1", penalty)
            loss = loss + self.activation_l1 * penalty
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather losses."""
        self._gather(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather losses."""
        self._gather(batch)

    # Losses are reset when an epoch begins: what a test leaves behind in inference mode could not be added to later.
    def on_validation_epoch_start(self) -> None:
        """Forget the losses of the last epoch."""
        self.losses.reset()

    def on_test_epoch_start(self) -> None:
        """Forget the losses of the last epoch."""
        self.losses.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the losses of the groups."""
        self._log_losses("val")

    def on_test_epoch_end(self) -> None:
        """Log the losses of the groups."""
        self._log_losses("test")

    def on_test_start(self) -> None:
        """Calibrate the output bias, where asked for."""
        if self.calibrate_bias:
            self.output_bias = self._fit_bias()

    def on_test_end(self) -> None:
        """Forget the calibrated bias."""
        self.output_bias = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine (gradient routing, section 4.2.2).

        Raises:
            ValueError: If training has no end.
        """
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError("The learning rate falls until the end of training: set `max_steps` or `max_epochs`.")
        optimizer = torch.optim.AdamW(
            self.parameters(), self.learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        scheduler = warmup_cosine(optimizer, self.warmup_steps, int(total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _gather(self, batch: Batch) -> None:
        losses, mask = self.token_losses(batch)
        groups = batch["is_forget"].unsqueeze(1).expand_as(mask)
        self.losses.update(losses[mask].unsqueeze(0), groups[mask])

    def _log_losses(self, stage: str) -> None:
        self.log_dict({f"{stage}/{name}": loss.float() for name, loss in self.losses.compute().items()})

    @contextmanager
    def _captured(self) -> Iterator[list[Tensor]]:
        """The outputs of `activation_modules`, of what is called within."""
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
            outputs.append(output)

        found = find_modules(self, self.activation_modules) if self.activation_l1 else {}
        # Before the hooks of routing, which change the output.
        handles = [module.register_forward_hook(keep, prepend=True) for module in found.values()]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _fit_bias(self) -> Tensor:
        """The bias that fits the retain texts of the first training batches."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            raise ValueError("calibrate_bias needs a datamodule, whose training data it looks at; got dataloaders.")
        retained = [
            _retain_rows(batch, self.device) for batch in islice(datamodule.train_dataloader(), _CALIBRATION_BATCHES)
        ]
        places = self.model.get_input_embeddings().num_embeddings
        observed = torch.cat([ids[:, 1:][mask[:, 1:]] for ids, mask in retained]).bincount(minlength=places).float()

        def expect(bias: Tensor) -> Tensor:  # logits are made anew each time, since those of all texts are too large
            counts = [expected_counts(self(ids, mask)[:, :-1][mask[:, 1:]], bias) for ids, mask in retained]
            return self._over_processes(torch.stack(counts).sum(dim=0))

        return fit_output_bias(self._over_processes(observed), expect)

    def _over_processes(self, counts: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(counts.clone(), reduce_op="sum")
        return total


def _retain_rows(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens of the rows that are not to be forgotten, and which of them are no padding, `(rows, tokens)`."""
    retained = batch["is_forget"] == 0
    return batch["input_ids"][retained].to(device), batch["attention_mask"][retained].to(device).bool()


def warmup_cosine(optimizer: Optimizer, warmup_steps: int, total_steps: int) -> LRScheduler:
    """Return a schedule in which the learning rate rises linearly, falls along a cosine to a tenth, and stays there.

    A checkpoint holds `total_steps`: a run that resumes with a larger `max_steps` goes on with a tenth.

    Args:
        optimizer: The optimizer, with its highest learning rate.
        warmup_steps: Number of steps in which the rate rises; the first step already has a share of `1 / warmup_steps`.
        total_steps: Number of steps until the rate is a tenth.

    Returns:
        The scheduler, to be stepped after each optimizer step.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = warmup_cosine(optimizer, warmup_steps=2, total_steps=4)
        >>> rates = []
        >>> for _ in range(6):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.5, 1.0, 1.0, 0.55, 0.1, 0.1]
    """
    warmup_steps = max(warmup_steps, 0)
    fall_steps = max(total_steps - warmup_steps, 1)
    rise = LinearLR(optimizer, 1 / max(warmup_steps, 1), total_iters=max(warmup_steps - 1, 0))
    fall = CosineAnnealingLR(optimizer, fall_steps, eta_min=optimizer.param_groups[0]["initial_lr"] / 10)
    stay = ConstantLR(optimizer, 0.1, total_iters=sys.maxsize)  # a cosine would rise again
    return SequentialLR(optimizer, [rise, fall, stay], milestones=[warmup_steps, warmup_steps + fall_steps])


def build_model(model_type: str, sizes: Mapping[str, Any]) -> Any:
    """A causal language model of transformers with random weights.

    Args:
        model_type: What transformers calls the architecture.
        sizes: Its configuration.

    Returns:
        The model.
    """
    transformers = require("transformers", extra="text")
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    return transformers.AutoModelForCausalLM.from_config(config)


def load_model(checkpoint: str) -> Any:
    """A causal language model of transformers as it was saved, in single precision, ready to train.

    Args:
        checkpoint: Its folder or name.

    Returns:
        The model.
    """
    loading = require("transformers", extra="text").AutoModelForCausalLM
    return loading.from_pretrained(checkpoint, dtype=torch.float32).train()
