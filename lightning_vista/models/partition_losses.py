"""The losses of split autoencoders (gradient routing, section 4.1)."""

from torch import Tensor


def reconstruction_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """The mean absolute error of each image.

    Args:
        reconstruction: What a decoder made, `(batch, channels, height, width)`.
        image: What it should have made, of the same shape.

    Returns:
        One error per image, `(batch,)`.

    Example:
        >>> import torch
        >>> reconstruction_loss(torch.ones(2, 1, 4, 4), -torch.ones(2, 1, 4, 4))
        tensor([2., 2.])
    """
    return (reconstruction - image).abs().flatten(1).mean(dim=1)


def l1_penalty(encoding: Tensor) -> Tensor:
    """The sum over units of their absolute values, averaged over the batch.

    Args:
        encoding: `(batch, units)`.

    Returns:
        A scalar, at least 0.

    Example:
        >>> import torch
        >>> l1_penalty(torch.tensor([[1.0, -2.0], [0.0, 1.0]]))
        tensor(2.)
    """
    return encoding.abs().sum(dim=1).mean()


def correlation_penalty(first: Tensor, second: Tensor) -> Tensor:
    """The mean absolute correlation, over a batch, between units of one half and units of the other.

    Args:
        first: One half of the encoding, `(batch, units)`.
        second: The other half, `(batch, other_units)`.

    Returns:
        A scalar between 0 and 1; a unit that does not vary correlates with nothing.

    Example:
        >>> import torch
        >>> unit = torch.tensor([[1.0], [2.0], [4.0]])
        >>> correlation_penalty(unit, torch.cat([-unit, torch.ones(3, 1)], dim=1))
        tensor(0.5000)
    """
    return (_standardize(first).T @ _standardize(second)).abs().mean() / len(first)


def _standardize(units: Tensor) -> Tensor:
    centred = units - units.mean(dim=0)
    return centred / centred.square().mean(dim=0).clamp(min=1e-12).sqrt()
