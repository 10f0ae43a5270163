"""Loss and representations of representation misdirection (RMU, Li et al. 2024, arXiv 2403.03218)."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_vista.routing.hooking import hook_tensor


def misdirection_loss(forget: Tensor, target: Tensor, retain: Tensor, frozen: Tensor, alpha: float) -> Tensor:
    """Compute the distance of forget texts from a random vector, plus that of retain texts from where they were.

    Args:
        forget: A layer's output at the tokens of forget texts `(tokens, width)`.
        target: The random vector `(width,)`.
        retain: The layer's output at the tokens of retain texts `(tokens, width)`.
        frozen: The layer's output at the same tokens before training `(tokens, width)`.
        alpha: The weight of retain texts.

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
    """Return the output of a layer at the tokens of a batch, without padding.

    Args:
        module: A language model that takes token ids and their mask.
        layer: The plain name of the layer.
        batch: A batch with `input_ids` and `attention_mask` `(batch, tokens)`.

    Returns:
        The outputs `(tokens, width)`.
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
