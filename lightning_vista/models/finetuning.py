"""Fine-tuning of a language model, with evaluations on held-out texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor, nn

from lightning_vista.models.curve import Curve, is_stale, lowest
from lightning_vista.processes.progress import progress_bar

Batch = Mapping[str, Tensor]
#: Makes the context of a forward pass, such as `trainer.precision_plugin.forward_context`.
ForwardContext = Callable[[], AbstractContextManager[None]]
#: Entry of training batches with the number of the step, for modules that draw something anew in each.
DRAW = "draw"


@runtime_checkable
class TokenLosses(Protocol):
    """A module that can be fine-tuned, such as `LanguageModelModule`."""

    def token_losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the losses of a batch's tokens, and whether each counts, both `(batch, tokens)`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters of the module."""


@runtime_checkable
class TokenLogits(TokenLosses, Protocol):
    """A module whose predictions can be compared with others, such as `LanguageModelModule`."""

    def token_logits(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the logits behind `token_losses`, `(batch, tokens, vocabulary)`, and whether each token counts."""


@runtime_checkable
class Sampling(Protocol):
    """A datamodule that gives some texts of one kind, such as `StoriesDataModule`."""

    def sample(self, split: str, is_forget: bool, count: int, seed: int) -> Batch:
        """Return `count` texts of `train`, `validation` or `test`; the same for the same seed."""


def finetune(
    module: TokenLosses,
    texts: Batch | Sequence[Batch],
    held_out: Mapping[str, Batch],
    steps: int = 40,
    learning_rate: float = 5e-5,
    evaluate_every: int = 1,
    keep_lowest: str | None = None,
    batch_size: int = 16,
    forward_context: ForwardContext = nullcontext,
    patience: int | None = None,
) -> Curve:
    """Train a module by steps of AdamW on the mean loss over all tokens of some texts (gradient routing, 4.2.2).

    Args:
        module: The module, changed in place; without dropout if it is in evaluation mode.
        texts: The training texts, all of which are in every step; or several batches of them.
        held_out: The held-out texts by name. The first name decides when `patience` is over.
        steps: The number of steps.
        learning_rate: AdamW learning rate.
        evaluate_every: The number of steps between two evaluations; there is one before the first and after the last
            step too.
        keep_lowest: The name of the held-out texts whose lowest loss decides on the final weights; by default they are
            those of the last step.
        batch_size: The number of texts that go through the module at a time; it changes no result.
        forward_context: Makes the context of a forward pass.
        patience: The number of evaluations in a row without a new lowest loss after which to stop; None never stops.

    Returns:
        The held-out losses over the steps.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate)
    parts = [texts] if isinstance(texts, Mapping) else texts
    batches = [batch for part in parts for batch in in_batches(part, batch_size, trained[0].device)]
    evaluated = {name: in_batches(rows, batch_size, trained[0].device) for name, rows in held_out.items()}
    losses = _losses(module, forward_context)
    curve: Curve = []
    kept: list[Tensor] = []
    # Step 0 evaluates the module as it came, which may stay the best.
    for step in range(steps + 1):
        if step:
            _backward(losses, [{**batch, DRAW: torch.tensor(step)} for batch in batches], trained)
            optimizer.step()
            optimizer.zero_grad()
        if step % evaluate_every == 0 or step == steps:
            curve.append({"step": step, **{name: _mean(losses, rows) for name, rows in evaluated.items()}})
            if keep_lowest and lowest(curve, keep_lowest) is curve[-1]:
                kept = [parameter.detach().clone() for parameter in trained]
            if patience is not None and is_stale(curve, next(iter(held_out)), patience):
                break
    if keep_lowest:
        for parameter, best in zip(trained, kept, strict=True):
            parameter.detach().copy_(best)
    return curve


def optimize(
    module: TokenLosses,
    objective: Callable[[], Tensor],
    held_out: Mapping[str, Batch],
    steps: int,
    learning_rate: float,
    evaluate_every: int,
    batch_size: int = 16,
    forward_context: ForwardContext = nullcontext,
    is_done: Callable[[dict[str, float]], bool] = lambda point: False,
    title: str = "tuning",
) -> Curve:
    """Train a module by steps of AdamW on an objective that draws its texts anew in each step.

    Args:
        module: The module, changed in place.
        objective: Function that computes the scalar to minimize in a step.
        held_out: The held-out texts by name.
        steps: The highest number of steps.
        learning_rate: AdamW learning rate.
        evaluate_every: The number of steps between two evaluations; there is one before the first and after the last
            step too.
        batch_size: The number of held-out texts that go through the module at a time; it changes no result.
        forward_context: Makes the context of a forward pass.
        is_done: Whether to stop after an evaluation, given its point of the curve.
        title: Words for the progress bar.

    Returns:
        The held-out losses over the steps.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate)

    def evaluate(step: int) -> dict[str, float]:
        return {"step": step, **mean_losses(module, held_out, batch_size, forward_context)}

    curve = [evaluate(0)]
    with progress_bar(title, steps) as advance:
        for step in range(1, steps + 1):
            if is_done(curve[-1]):
                break
            with forward_context():
                loss = objective()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            advance(1)
            if step % evaluate_every == 0 or step == steps:
                curve.append(evaluate(step))
    return curve


def mean_losses(
    module: TokenLosses,
    held_out: Mapping[str, Batch],
    batch_size: int = 16,
    forward_context: ForwardContext = nullcontext,
) -> dict[str, float]:
    """Compute the mean loss over all tokens of texts.

    Args:
        module: The module.
        held_out: The texts by name.
        batch_size: The number of texts that go through the module at a time; it changes no result.
        forward_context: Makes the context of a forward pass.

    Returns:
        The loss by name, in nats.
    """
    device = next(module.parameters()).device
    losses = _losses(module, forward_context)
    return {name: _mean(losses, in_batches(rows, batch_size, device)) for name, rows in held_out.items()}


def in_batches(texts: Batch, size: int, device: torch.device) -> list[Batch]:
    """Split texts into batches.

    Args:
        texts: Tensors with one entry for each text.
        size: The largest number of texts in a batch.
        device: The device of the batches.

    Returns:
        The batches.

    Example:
        >>> [len(batch["x"]) for batch in in_batches({"x": torch.zeros(5, 2)}, 2, torch.device("cpu"))]
        [2, 2, 1]
    """
    parts = [value.to(device).split(size) for value in texts.values()]
    return [dict(zip(texts, part, strict=True)) for part in zip(*parts, strict=True)]


def draw_rows(batch: Batch, count: int, generator: torch.Generator) -> Batch:
    """Draw some rows of a batch, others in each call.

    Args:
        batch: Tensors with one entry for each text.
        count: The highest number of rows.
        generator: The random generator, on the CPU.

    Returns:
        The rows, none of them twice.
    """
    length = len(next(iter(batch.values())))
    chosen = torch.randperm(length, generator=generator)[:count]
    return {name: value[chosen.to(value.device)] for name, value in batch.items()}


def check_finetuning(trainer: L.Trainer, module: L.LightningModule, asker: L.Callback) -> tuple[TokenLosses, Sampling]:
    """Find what fine-tuning needs.

    Args:
        trainer: The trainer.
        module: The module.
        asker: The callback that fine-tunes, for the error.

    Returns:
        The module, and the trainer's datamodule.

    Raises:
        ValueError: If the module has no losses of tokens, or the datamodule gives no samples.
    """
    datamodule = getattr(trainer, "datamodule", None)
    if not isinstance(module, TokenLosses) or not isinstance(datamodule, Sampling):
        raise ValueError(
            f"{type(asker).__name__}: expected a module with `token_losses(batch)`, such as LanguageModelModule, and a "
            "datamodule with `sample(split, is_forget, count, seed)`, such as StoriesDataModule, got "
            f"{type(module).__name__} and {type(datamodule).__name__}."
        )
    return module, datamodule


def check_logits(trainer: L.Trainer, module: L.LightningModule, asker: L.Callback) -> tuple[TokenLogits, Sampling]:
    """Find what tuning by a model's predictions needs, see `check_finetuning`.

    Args:
        trainer: The trainer.
        module: The module.
        asker: The callback that tunes, for the error.

    Returns:
        The module, and the trainer's datamodule.

    Raises:
        ValueError: If the module has no losses or logits of tokens, or the datamodule gives no samples.
    """
    _, datamodule = check_finetuning(trainer, module, asker)
    if not isinstance(module, TokenLogits):
        raise ValueError(
            f"{type(asker).__name__}: expected a module with `token_logits(batch)`, such as LanguageModelModule, got "
            f"{type(module).__name__}."
        )
    return module, datamodule


def held_out_texts(datamodule: Sampling, split: str, count: int, seed: int) -> dict[str, Batch]:
    """Sample equally many held-out texts of both kinds, `forget` and `retain`.

    Args:
        datamodule: The datamodule with the texts.
        split: `validation` or `test`.
        count: The number of texts of each kind.
        seed: Random seed for sampling.

    Returns:
        The texts by their kind.

    Raises:
        ValueError: If there are too few texts.
    """
    kinds = {"forget": True, "retain": False}
    return {kind: datamodule.sample(split, is_forget, count, seed) for kind, is_forget in kinds.items()}


def _losses(module: TokenLosses, forward_context: ForwardContext) -> Callable[[Batch], Tensor]:
    """Return a function from a batch to the losses of its tokens, without padding."""

    def losses(batch: Batch) -> Tensor:
        with forward_context():
            of_tokens, mask = module.token_losses(batch)
        return of_tokens[mask]

    return losses


@torch.no_grad()
def _mean(losses: Callable[[Batch], Tensor], batches: Sequence[Batch]) -> float:
    """Compute the mean over all tokens."""
    return float(torch.cat([losses(batch).double() for batch in batches]).mean())


def _backward(losses: Callable[[Batch], Tensor], batches: Sequence[Batch], trained: Sequence[nn.Parameter]) -> None:
    """Accumulate the gradients of the mean over all tokens."""
    # Sums, divided once by the number of all tokens: a mean of batches' means would weigh short texts more.
    count = 0
    for batch in batches:
        of_tokens = losses(batch)
        of_tokens.sum().backward()
        count += len(of_tokens)
    for parameter in trained:
        if parameter.grad is not None:
            parameter.grad /= count
