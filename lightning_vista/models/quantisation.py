"""Rounding of weights to few bits, as in quantized inference, with the original data type (fake quantisation)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rounding:
    """Symmetric rounding of weights.

    Attributes:
        bits: Number of bits of a weight.
        group_size: Number of inputs of an output unit that share a scale; None for all inputs of the unit.
    """

    bits: int
    group_size: int | None = None


def round_weights(weight: Tensor, rounding: Rounding) -> Tensor:
    """Round weights to whole multiples of a scale: the largest absolute weight of a group over the largest integer.

    Args:
        weight: Weights `(outputs, inputs)`, float.
        rounding: Bits and groups. The last group of an output is smaller where the inputs are not a multiple.

    Returns:
        The rounded weights `(outputs, inputs)`, of the same data type.

    Example:
        >>> round_weights(torch.tensor([[7.0, 2.4, -3.6], [0.7, 0.0, 0.04]]), Rounding(bits=4))
        tensor([[ 7.0000,  2.0000, -4.0000],
                [ 0.7000,  0.0000,  0.0000]])
    """
    largest = 2 ** (rounding.bits - 1) - 1
    groups = weight.split(rounding.group_size or weight.shape[1], dim=1)
    return torch.cat([_round_group(group.float(), largest) for group in groups], dim=1).to(weight.dtype)


@torch.no_grad()
def quantise(module: nn.Module, rounding: Rounding) -> float:
    """Round the weights of all linear layers of a module, in place.

    These are `torch.nn.Linear` and the `Conv1D` of transformers. As in GPTQ and bitsandbytes, embeddings, the output
    layer of a language model, norms and biases stay as they are.

    Args:
        module: The module.
        rounding: Bits and groups.

    Returns:
        The share of the module's parameters that were rounded.

    Raises:
        ValueError: If the module has no linear layers.

    Example:
        >>> quantise(nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4, bias=False)), Rounding(bits=8))
        0.5
    """
    layers = list(_linear_layers(module))
    if not layers:
        raise ValueError(f"`module`: expected linear layers to quantise, got none in {type(module).__name__}.")
    for layer in layers:
        turned = type(layer).__name__ == "Conv1D"  # its weight is (inputs, outputs)
        weight = layer.get_parameter("weight")
        weight.copy_(round_weights(weight.T, rounding).T if turned else round_weights(weight, rounding))
    rounded = sum(layer.get_parameter("weight").numel() for layer in layers)
    return rounded / sum(parameter.numel() for parameter in module.parameters())


def _linear_layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers whose weights are rounded."""
    heads = [get() for part in module.modules() if callable(get := getattr(part, "get_output_embeddings", None))]
    embeddings = [part.weight for part in module.modules() if isinstance(part, nn.Embedding)]
    kept = {id(head) for head in heads} | {id(weight) for weight in embeddings}  # a head may share its weight with one
    for part in module.modules():
        is_linear = isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"
        if is_linear and not {id(part), id(part.get_parameter("weight"))} & kept:
            yield part


def _round_group(weight: Tensor, largest: int) -> Tensor:
    scale = weight.abs().amax(dim=1, keepdim=True) / largest
    rounded = (weight / scale).round() * scale
    return torch.where(scale > 0, rounded, weight)  # a row of zeros has no scale
