"""Log-probabilities of many continuations of one beginning, which a model reads only once."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

#: Id that fills up short rows. Their ends are never read, so any id will do.
_PAD = 0


def shared_length(sequences: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens with which all sequences begin.

    Example:
        >>> shared_length([[1, 2, 3], [1, 2, 4, 5]])
        2
    """
    first, last = min(map(list, sequences)), max(map(list, sequences))
    different = (number for number, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(different, min(len(first), len(last)))


def answer_log_probabilities(
    model: Any, inputs: Mapping[str, Tensor], sequences: Sequence[Sequence[int]], starts: Sequence[int], batch_size: int
) -> Tensor:
    """Return the log-probability of the last tokens of each sequence, given those before them.

    The tokens that all sequences share, with the pictures among them, pass through the model once. Continuations are
    padded on the right, where a causal model never looks, so that each is as if it were alone, up to rounding.

    Args:
        model: Causal image-text model of transformers.
        inputs: The model's inputs for the first sequence or a beginning of it that holds all pictures.
        sequences: Ids of the tokens of each sequence, which begin alike up to the last picture.
        starts: Position of the first token that counts in each sequence, at least 1.
        batch_size: Number of continuations that are read at once.

    Returns:
        Sums over tokens of natural logarithms `(sequences,)`, float32, on the CPU.
    """
    length = min(shared_length(sequences), min(starts) - 1)
    cache = read_prefix(model, inputs, sequences[0][:length]) if length else None
    values = torch.empty(len(sequences), dtype=torch.float32)  # whatever the precision of the run
    by_length = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))  # little is padded
    for begin in range(0, len(sequences), batch_size):
        numbers = by_length[begin : begin + batch_size]
        rows = [sequences[number][length:] for number in numbers]
        first = [starts[number] - length for number in numbers]
        # Copied, because the model appends to it; layers that cannot be cut back (recurrent, sliding) need that too.
        beginning = copy.deepcopy(cache)
        if beginning is not None:
            beginning.reorder_cache(torch.zeros(len(rows), dtype=torch.long))
        values[numbers] = _continue(model, beginning, rows, first)
    return values


def read_prefix(model: Any, inputs: Mapping[str, Tensor], tokens: Sequence[int]) -> Any:
    """Return the model's cache after the beginning of a prompt.

    Args:
        model: Image-text model of transformers.
        inputs: Inputs of a prompt that begins with these tokens and holds no pictures after them.
        tokens: Ids of the beginning.
    """
    forget_positions(model)
    whole = inputs["input_ids"].shape
    given = {key: value[:, : len(tokens)] if value.shape == whole else value for key, value in inputs.items()}
    given |= {"input_ids": torch.tensor([[*tokens]], device=model.device)}
    given.pop("attention_mask", None)  # nothing is padded
    return model(**given, use_cache=True, **_keep(model, torch.tensor([len(tokens) - 1]))).past_key_values


def forget_positions(model: Any) -> None:
    """Remove the offset of positions (M-RoPE) that a model keeps of the last pictures it saw."""
    for module in model.modules():
        if getattr(module, "rope_deltas", None) is not None:
            module.rope_deltas = None


def _continue(model: Any, cache: Any, rows: Sequence[Sequence[int]], starts: Sequence[int]) -> Tensor:
    """Return the log-probability of each row's tokens from its start on."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[_PAD] * (longest - len(row))] for row in rows], device=model.device)
    # The logits at a position are those of the next token, so that nothing is asked of the last one.
    kept = torch.arange(min(starts) - 1, longest - 1, device=model.device)
    output = model(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True, **_keep(model, kept))
    logits = output.logits if output.logits.shape[1] == len(kept) else output.logits[:, kept]
    chosen = logits.float().log_softmax(-1).gather(-1, tokens[:, kept + 1, None]).squeeze(-1)
    position = kept + 1
    first, end = (torch.tensor(bounds, device=model.device)[:, None] for bounds in (starts, [*map(len, rows)]))
    counts = (position >= first) & (position < end)
    return torch.where(counts, chosen, 0.0).sum(1).cpu()


def _keep(model: Any, positions: Tensor) -> dict[str, Tensor]:
    """Return the argument by which models compute logits at some positions only, if this one has it."""
    known = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"logits_to_keep": positions.to(model.device)} if known else {}
