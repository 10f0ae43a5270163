"""Causal language models of transformers, for texts of which a part is to be forgotten."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.files.checkpoints import load_without_code
from lightning_vista.metrics.group_means import GroupMeans
from lightning_vista.models.token_losses import (
    activation_l1,
    expected_counts,
    fit_output_bias,
    step_factor,
    token_cross_entropy,
    token_weight,
)
from lightning_vista.models.warmup_cosine import warmup_cosine
from lightning_vista.optional import require
from lightning_vista.routing import Router
from lightning_vista.routing.learning_rates import find_multipliers, freeze_parameters, split_groups
from lightning_vista.routing.naming import find_modules
from lightning_vista.routing.rules.targets import Target, check_targets

Batch = Mapping[str, Tensor]
#: Values of `is_forget` in each group.
_GROUPS = {"forget": [1], "retain": [0], "all": [0, 1]}
#: Number of training batches whose retain rows calibrate the output bias.
_CALIBRATION_BATCHES = 16


class LanguageModelModule(L.LightningModule):
    """Causal language model of transformers, with random weights or those of a checkpoint.

    This module does not route. A `GradientRouting` callback on modules of `model` does so; without it, training is
    ordinary. Batches are `{"input_ids", "attention_mask": (batch, tokens), "is_forget": (batch,) of 0 and 1}`.

    An optimizer step follows the mean loss over all its tokens, also where it accumulates batches or several processes
    share it: each batch's objective then counts by its number of tokens. The L1 penalty is weighed alike.
    `train/loss` is the mean of each batch. Until the step, gradients are larger or smaller by a common factor.

    `val/loss/<group>` and `test/loss/<group>` are mean cross-entropies over the tokens of the group `forget`, `retain`
    or `all`, in nats.

    Args:
        model_type: Name of the architecture in transformers, such as `gpt_neo` or `llama`, for random weights.
        sizes: Configuration of the architecture, such as `{"hidden_size": 64, "num_layers": 4, "vocab_size": 1344}`.
        checkpoint: Folder or name of a model of transformers, in place of `model_type` and `sizes`.
        learning_rate: Highest AdamW learning rate, see `warmup_cosine`.
        warmup_steps: Number of optimizer steps in which the learning rate rises.
        weight_decay: AdamW weight decay.
        betas: AdamW betas.
        activation_l1: Weight of the L1 penalty on the outputs of `activation_modules`. The penalty sees the outputs
            before routing, so that all data shrinks all units.
        activation_modules: Names or patterns of modules, such as `model.transformer.h.*.mlp.act`.
        calibrate_bias: Whether to fit a bias of the logits to the retain texts of the training data before a test.
            Ablation shifts how often a model expects each word. Without that shift, losses are comparable.
        freeze: Names or patterns of parameters that do not move in `fit`, such as `model.model.embed_tokens.*`. `*` as
            the first or the last part between dots stands for one or more parts.
        parameter_groups: Name or pattern of parameters -> factor of their learning rate throughout, such as 15 for
            `*.new.*`. It names whole parameters: units that `Expansion` adds share those of their layer, while those
            of `BranchExpansion` have their own.
        gradient_checkpointing: Whether to compute activations again in the backward pass instead of keeping them.

    Attributes:
        gradient_factor: The factor by which the last optimizer step multiplied what its backward passes had added up.

    Raises:
        ValueError: If not exactly one of `model_type` and `checkpoint` is given, or an L1 penalty has no modules.
        ModuleNotFoundError: If transformers is missing; the message names the extra.

    Example:
        >>> sizes = {"hidden_size": 8, "num_layers": 1, "attention_types": [[["global"], 1]], "num_heads": 2}
        >>> module = LanguageModelModule("gpt_neo", {**sizes, "vocab_size": 50})
        >>> module(torch.tensor([[3, 1, 4]])).shape
        torch.Size([1, 3, 50])
    """

    #: The token that a position predicts, for rules of tokens.
    target: ClassVar[Target] = "next"
    #: The class of transformers that builds and loads the model, and options of its calls.
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    call_options: ClassVar[Mapping[str, Any]] = {"use_cache": False}

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
        freeze: Sequence[str] = (),
        parameter_groups: dict[str, float] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if (model_type is None) == (checkpoint is None):
            raise ValueError(
                f"`model_type`, `checkpoint`: expected exactly one of them, got {model_type!r} and {checkpoint!r}."
            )
        if activation_l1 and not activation_modules:
            raise ValueError(
                "`activation_modules`: expected at least one pattern for `activation_l1`, got none. Give one such as "
                "'model.transformer.h.*.mlp.act'."
            )
        builder = getattr(require("transformers", extra="text"), self.auto_class)
        self.model: Any = (
            build_model(model_type, sizes or {}, builder) if model_type else load_model(checkpoint or "", builder)
        )
        if gradient_checkpointing:
            # The name is newer than transformers 5.0. Reentrant checkpointing would train nothing in a frozen model,
            # such as one with adapters.
            enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.weight_decay, self.betas = weight_decay, betas
        self.activation_l1, self.activation_modules = activation_l1, list(activation_modules)
        self.calibrate_bias = calibrate_bias
        self.freeze_patterns, self.multipliers = list(freeze), dict(parameter_groups or {})
        self._frozen: list[nn.Parameter] = []
        self.gradient_factor: Tensor | float = 1.0
        self.output_bias: Tensor | None = None
        self.losses = GroupMeans(["loss"], _GROUPS)
        self._is_part = False  # whether a batch is one of several of an optimizer step
        self._step_tokens: Tensor | int = 0  # tokens with a loss since the last step

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return the logits of the token after each position, `(batch, tokens, vocabulary)`."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **self.call_options).logits
        return logits if self.output_bias is None else logits + self.output_bias

    def token_predictions(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of all tokens but the first, these tokens, and the mask without padding.

        Args:
            batch: A batch.

        Returns:
            Logits `(batch, tokens - 1, vocabulary)`, tokens and booleans `(batch, tokens - 1)`.
        """
        logits = self(batch["input_ids"], batch["attention_mask"])
        return logits[:, :-1], batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:].bool()

    def token_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of each predicted token, in nats, and whether it counts, both `(batch, places)`."""
        logits, targets, counts = self.token_predictions(batch)
        return token_cross_entropy(logits, targets), counts

    def token_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits behind `token_losses`, `(batch, places, vocabulary)`, and whether each place counts."""
        logits, _, counts = self.token_predictions(batch)
        return logits, counts

    # Lightning calls this after the `setup` of callbacks, which add units, and before strategies wrap the model.
    def setup(self, stage: str) -> None:
        """Check that the model has an embedding for every token, and freeze parameters for `fit`."""
        self.check_vocabulary()
        if stage == "fit":
            self._frozen += freeze_parameters(self, self.freeze_patterns)

    def check_vocabulary(self) -> None:
        """Check that the model has an embedding for every token.

        Raises:
            ValueError: If the datamodule's tokenizer has more tokens than the model has embeddings.
        """
        tokenizer = getattr(getattr(self.trainer, "datamodule", None), "tokenizer", None)
        places = self.model.get_input_embeddings().num_embeddings
        if tokenizer is not None and len(tokenizer) > places:
            raise ValueError(
                f"`vocab_size`: expected at least the {len(tokenizer)} tokens of the datamodule's tokenizer, got "
                f"{places} embeddings. Set it in the model's `sizes` to at least {len(tokenizer)}, or the datamodule's "
                "`tokenizer` to the checkpoint's folder."
            )

    def teardown(self, stage: str) -> None:
        """Let frozen parameters be trained again, for example by an attack."""
        for parameter in self._frozen:
            parameter.requires_grad_()
        self._frozen = []

    def on_fit_start(self) -> None:
        """Check that rules of routes know which token a position predicts."""
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined] # set by connectors
        routers = [router for c in callbacks if isinstance(router := getattr(c, "router", None), Router)]
        check_targets([route.rule for router in routers for route in router.routes], self.target)

    def on_train_start(self) -> None:
        """Forget the tokens of an earlier, interrupted step."""
        self._step_tokens = 0

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Find out whether the batch is one of several of an optimizer step; schedulers may change that."""
        self._is_part = self.trainer.accumulate_grad_batches > 1 or self.trainer.world_size > 1

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss over tokens, plus the L1 penalty, weighted by tokens if others join the step."""
        with self._captured() as activations:
            losses, mask = self.token_losses(batch)
        loss = losses[mask].mean()
        self.log("train/loss", loss, prog_bar=True)
        if self.activation_l1:
            penalty = activation_l1(activations, batch["attention_mask"])
            self.log("train/activation_l1", penalty)
            loss = loss + self.activation_l1 * penalty
        if self._is_part:
            count = mask.sum()
            self._step_tokens = self._step_tokens + count
            loss = loss * token_weight(count)
        return loss

    # Lightning calls this after it has unscaled gradients of half precision, and before it clips them.
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the number of all tokens of the step."""
        self.gradient_factor = 1.0
        if not self._is_part:  # the mean of the only batch: nothing is rounded anew
            return
        tokens = self.trainer.strategy.reduce(torch.as_tensor(self._step_tokens, device=self.device), reduce_op="sum")
        # Lightning has divided by the batches of a full window, also in the shorter last one of an epoch, and data
        # parallel strategies by the number of processes.
        factor = step_factor(tokens, self.trainer.accumulate_grad_batches * self.trainer.world_size)
        self.gradient_factor = factor
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad *= factor
        self._step_tokens = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect losses."""
        self._gather(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect losses."""
        self._gather(batch)

    # Reset at the beginning of an epoch: a test leaves tensors of inference mode, to which nothing can be added later.
    def on_validation_epoch_start(self) -> None:
        """Reset the losses of the last epoch."""
        self.losses.reset()

    def on_test_epoch_start(self) -> None:
        """Reset the losses of the last epoch."""
        self.losses.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the losses of the groups."""
        self._log_losses("val")

    def on_test_epoch_end(self) -> None:
        """Log the losses of the groups."""
        self._log_losses("test")

    def on_test_start(self) -> None:
        """Calibrate the output bias if `calibrate_bias` is set."""
        if self.calibrate_bias:
            self.output_bias = self._fit_bias()

    def on_test_end(self) -> None:
        """Remove the calibrated bias."""
        self.output_bias = None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with warm-up and cosine (gradient routing, section 4.2.2).

        Raises:
            ValueError: If the number of steps is unlimited.
        """
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise ValueError(
                "`max_steps`: expected a limit, since the learning rate falls until the end of training, got none. Set "
                "`max_steps` or `max_epochs` of the trainer."
            )
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        groups = split_groups([{"params": trained, "lr": self.learning_rate}], find_multipliers(self, self.multipliers))
        optimizer = torch.optim.AdamW(groups, self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)
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
        """Capture the outputs of `activation_modules` within this context."""
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
            outputs.append(output)

        found = find_modules(self, self.activation_modules) if self.activation_l1 else {}
        # Before the hooks of routing, which change the output: the penalty must reach all units with all data.
        handles = [module.register_forward_hook(keep, prepend=True) for module in found.values()]
        try:
            yield outputs
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _fit_bias(self) -> Tensor:
        """Fit the output bias to the retain texts of the first training batches."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            raise ValueError(
                "`datamodule`: expected one for `calibrate_bias`, which needs its training data, got dataloaders. Pass "
                "a datamodule to the trainer."
            )
        retained = [
            _retain_rows(batch, self.device) for batch in islice(datamodule.train_dataloader(), _CALIBRATION_BATCHES)
        ]
        places = self.model.get_input_embeddings().num_embeddings

        def predictions() -> Iterator[tuple[Tensor, Tensor]]:  # anew each time: logits of all texts are large
            for batch in retained:
                logits, targets, counts = self.token_predictions(batch)
                yield logits[counts], targets[counts]

        observed = torch.cat([targets for _, targets in predictions()]).bincount(minlength=places).float()

        def expect(bias: Tensor) -> Tensor:
            counts = [expected_counts(logits, bias) for logits, _ in predictions()]
            return self._over_processes(torch.stack(counts).sum(dim=0))

        return fit_output_bias(self._over_processes(observed), expect)

    def _over_processes(self, counts: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(counts.clone(), reduce_op="sum")
        return total


def _retain_rows(batch: Batch, device: torch.device) -> Batch:
    """Return the tokens of retain rows, and their mask without padding, both `(rows, tokens)`."""
    retained = batch["is_forget"] == 0
    return {name: batch[name][retained].to(device) for name in ("input_ids", "attention_mask")}


def build_model(model_type: str, sizes: Mapping[str, Any], builder: Any) -> Any:
    """Build a language model of transformers with random weights.

    Args:
        model_type: Name of the architecture in transformers.
        sizes: Configuration of the architecture.
        builder: Class of transformers that knows the architecture, such as `AutoModelForCausalLM`.

    Returns:
        The model.
    """
    config = require("transformers", extra="text").AutoConfig.for_model(model_type, **sizes)
    return builder.from_config(config, trust_remote_code=False)


def load_model(checkpoint: str, builder: Any) -> Any:
    """Load a language model of transformers in single precision, in training mode.

    Args:
        checkpoint: Folder or name of the model.
        builder: Class of transformers that knows the architecture, such as `AutoModelForCausalLM`.

    Returns:
        The model.
    """
    return load_without_code(builder.from_pretrained, checkpoint, dtype=torch.float32).train()
