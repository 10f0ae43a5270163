"""Masks on the parameters of units: SGTM's parameter masking."""

from collections.abc import Iterable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.leaves import hook_leaf
from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup, UnknownStructureError
from lightning_vista.routing.units.group import check_known


def block_gradients(model: nn.Module, weighted: Iterable[tuple[UnitGroup, Tensor]]) -> None:
    """Multiply the gradients of units' parameters by weights: SGTM's parameter masking.

    Call it between the backward pass and clipping. It weighs both the rows that make a unit and the columns that read
    it. Biases of the readers serve all units at once, so only data that trains all units may train them. They take
    the smallest weight of any unit, and 0 where that is negative.

    Args:
        model: The model, with gradients.
        weighted: Pairs of a layer's units and the weight of each unit `(size,)`.

    Raises:
        UnknownStructureError: If not all parameters that make and read the units are known, or the model lacks one.

    Example:
        >>> import torch
        >>> from lightning_vista.routing.units import unit_group
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> for parameter in model.parameters():
        ...     parameter.grad = torch.ones_like(parameter)
        >>> block_gradients(model, [(unit_group(model, "1"), torch.tensor([0.0, 1.0]))])
        >>> model[0].bias.grad, model[2].weight.grad, model[2].bias.grad
        (tensor([0., 1.]), tensor([[0., 1.]]), tensor([0.]))
    """
    weighted = list(weighted)
    for units, _ in weighted:
        check_known(units)
    parameters = {plain_name(name): parameter for name, parameter in model.named_parameters(remove_duplicate=False)}
    if missing := [name for units, _ in weighted for name in units.names() if name not in parameters]:
        raise UnknownStructureError(
            f"`model`: expected the parameters of the units, got a model without {missing}. Find units again after a "
            "change of its modules."
        )
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            for units, weights in weighted:
                _weigh(parameter.grad, name, units, weights)


def hook_units(taps: Sequence[Tap], model: nn.Module) -> list[RemovableHandle]:
    """Weigh what each backward pass adds to the parameters of units, by the weights that the taps have at the time.

    Gradients are weighed before they are accumulated, so that batches of different groups may be accumulated.

    Args:
        taps: The routed modules, whose units are known.
        model: The model that contains them.

    Returns:
        The handles that remove the hooks.
    """
    by_name: dict[str, list[Tap]] = {}
    for tap in taps:
        for name in tap.units.names() if tap.units else ():
            by_name.setdefault(name, []).append(tap)
    parameters = {plain_name(name): parameter for name, parameter in model.named_parameters(remove_duplicate=False)}
    return [hook_leaf(parameters[name], partial(_weigh_by_taps, name, found)) for name, found in by_name.items()]


def _weigh_by_taps(name: str, taps: Sequence[Tap], gradient: Tensor) -> Tensor | None:
    """Return a gradient that the weights of several taps multiply; None where there is nothing to weigh."""
    masks = [(tap.units, mask) for tap in taps if (mask := tap.unit_mask()) is not None]
    if not masks:
        return None
    gradient = gradient.clone()  # the same tensor may be on its way to another parameter
    for units, weights in masks:
        if units:
            _weigh(gradient, name, units, weights)
    return gradient


def _weigh(gradient: Tensor, name: str, units: UnitGroup, weights: Tensor) -> None:
    """Multiply, in place, what a parameter of some units has for each of them."""
    for piece in (*units.producers, *units.consumers):
        if piece.name == name:
            piece.scale(gradient, weights)
    if name in units.shared:
        gradient.mul_(weights.min().clamp(0, 1).to(gradient))
