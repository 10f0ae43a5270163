"""Loss and representations of representation misdirection (RMU, Li et al. 2024, arXiv 2403.03218)."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_vista.routing.hooking import hook_tensor


def misdirection_loss(forget: Tensor, target: Tensor, retain: Tensor, frozen: Tensor, alpha: float) -> Tensor:
    """How far forget texts are from a random vector, and retain texts from where they were.

    Args:
        forget: A layer's output at the tokens of forget texts `(tokens, width)`.
        target: The random vector `(width,)`.
        retain: The layer's output at the tokens of retain texts `(tokens, width)`.
        frozen: The same before training.
        alpha: What retain texts count.

    Returns:
        The mean square of the first difference plus `alpha` times that of the second, a scalar.

    Example:
        >>> import torch
        >>> zeros, ones = torch.zeros(3, 2), torch.ones(3, 2)
        >>> misdirection_loss(zeros, torch.ones(2), zeros, ones, alpha=10.0)
        tensor(11.)
    """
    return mse_loss(forget, target.expand_as(forget)) + alpha * mse_loss(retain, frozen)


def layer_outputs(module: nn.Module, layer: str, batch: Mapping[str, Tensor]) -> Tensor:
    """What a layer returns at the tokens of a batch that are no padding.

    Args:
        module: A language model that takes token ids and their mask.
        layer: The plain name of the layer.
        batch: With `input_ids` and `attention_mask` `(batch, tokens)`.

    Returns:
        `(tokens, width)`.
    """
    outputs: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        outputs.append(x)
        return x

    handle = hook_tensor(module.get_submodule(layer), "output", keep, layer)
    try:
        module(batch["input_ids"], batch["attention_mask"])
    finally:
        handle.remove()
    return outputs[0][batch["attention_mask"].bool()]
