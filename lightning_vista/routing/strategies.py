"""Strategies of routing: three places where a mask can act, behind the words of the option `strategy`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_vista.options import check_word
from lightning_vista.routing.checks import UnitNeeds, check_forbidden
from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.step_weights import StepWeights, agree_on
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.units import UnitGroup
from lightning_vista.routing.units.group import check_known
from lightning_vista.routing.weight_bounds import WeightBounds

StrategyName = Literal["gradient", "parameter", "activation"]
DEFAULT_STRATEGY: StrategyName = "gradient"


class MaskStrategy(ABC):
    """Base class of strategies, which apply the weights of regions. Routers and callbacks ask it, and never its name.

    Attributes:
        name: The word of the option `strategy`.
        masks_parameters: Whether gradients of parameters are weighed before an optimizer step.
        weighs_backward: Whether gradients of the routed tensors are weighed in the backward pass.
        isolates_readers: Whether isolation also covers the columns that read blocked units and their biases.
    """

    name: ClassVar[StrategyName]
    masks_parameters: ClassVar[bool] = False
    weighs_backward: ClassVar[bool] = False
    isolates_readers: ClassVar[bool] = False

    def needs(self, isolates: bool) -> UnitNeeds:
        """Return what must be known of the units.

        Args:
            isolates: Whether optimizers are isolated.
        """
        if self.masks_parameters:
            return "makers and readers"
        return "makers" if isolates else "nothing"

    @abstractmethod
    def set_mask(self, tap: Tap, weights: Tensor) -> None:
        """Give a tap the factors of its hook.

        Args:
            tap: The routed module, whose `factors` already hold the zeros of its route's `forward`.
            weights: The weights of the regions `(batch[, tokens], regions)`.

        Raises:
            ValueError: If the strategy cannot apply these weights.
        """

    def mask_parameters(self, model: nn.Module, step: StepWeights) -> None:  # noqa: B027 # most do nothing here
        """Weigh the gradients of an optimizer's parameters, between the backward pass and the optimizer step.

        Args:
            model: The model, with gradients.
            step: The weights of the step's samples.

        Raises:
            ValueError: If samples of the step have different weights.
        """

    def check_backward(self, taps: Sequence[Tap], model: nn.Module) -> None:  # noqa: B027 # most can check nothing
        """Check after the first backward pass that routing did what it says.

        Args:
            taps: The routed modules.
            model: The model, with gradients of this backward pass only.

        Raises:
            RoutingError: If a blocked unit got a gradient.
        """


class GradientStrategy(MaskStrategy):
    """Weighing of gradients in the backward pass, at the routed tensor (arXiv 2410.04332, section 3)."""

    name = "gradient"
    weighs_backward = True

    def set_mask(self, tap: Tap, weights: Tensor) -> None:
        """Let the hook weigh gradients."""
        tap.weights = weights

    def check_backward(self, taps: Sequence[Tap], model: nn.Module) -> None:
        """Check that no gradient reached a blocked unit by another path."""
        bounds = agree_on([tap.bounds() for tap in taps])
        check_forbidden([(tap, _untrained(tap, part)) for tap, part in zip(taps, bounds, strict=True)], model)


class ParameterStrategy(MaskStrategy):
    """Weighing of the gradients of parameters that make and read units: parameter masking (SGTM).

    The backward pass stays as it is, so all samples of an optimizer step must have the same weights.
    """

    name = "parameter"
    masks_parameters = True
    isolates_readers = True

    def set_mask(self, tap: Tap, weights: Tensor) -> None:
        """Leave the hook idle: the weights that the tap notes act before the optimizer step."""

    def mask_parameters(self, model: nn.Module, step: StepWeights) -> None:
        """Weigh the rows and columns of all units."""
        # All weights are found before any gradient changes, so that an error leaves gradients as they were.
        weighted = [(tap.units, unit_weights(tap, bounds)) for tap, bounds in step.take_unmasked()]
        block_gradients(
            model, [(units, weights) for units, weights in weighted if units and weights is not None], step.owns
        )


class ActivationStrategy(MaskStrategy):
    """Zeroing of the activations of units that a sample may not train: activation masking (SGTM)."""

    name = "activation"

    def set_mask(self, tap: Tap, weights: Tensor) -> None:
        """Let the hook zero activations, in addition to the zeros of the route's `forward`."""
        if not torch.isin(weights, weights.new_tensor([0.0, 1.0])).all():
            raise ValueError(
                f"{tap.name}: expected hard memberships and weights of 0 or 1, since the strategy {self.name!r} keeps "
                f"or zeroes activations, got weights from {weights.min():g} to {weights.max():g}. Use the strategy "
                f"{GradientStrategy.name!r}."
            )
        tap.factors = weights * (1 if tap.factors is None else tap.factors)


_STRATEGIES = {strategy.name: strategy for strategy in (GradientStrategy, ParameterStrategy, ActivationStrategy)}


def find_strategy(name: StrategyName) -> MaskStrategy:
    """Return the strategy that a word stands for.

    Args:
        name: The word.

    Returns:
        The strategy.

    Raises:
        ValueError: If no strategy has this name.

    Example:
        >>> find_strategy("parameter").masks_parameters
        True
    """
    check_word("strategy", name, get_args(StrategyName))
    return _STRATEGIES[name]()


def unit_weights(tap: Tap, bounds: WeightBounds) -> Tensor | None:
    """Return the weight of each unit that all samples of an optimizer step share.

    Args:
        tap: The routed module.
        bounds: The bounds of the samples' weights.

    Returns:
        Weights `(units,)`, or None if there were no samples.

    Raises:
        ValueError: If samples differ in their weights.
    """
    if tap.regions is None or not bounds.values.isfinite().all():
        return None
    shared = bounds.shared_weights()
    if shared is None:
        raise ValueError(
            f"{tap.name}: expected one group in each optimizer step, as the strategy {ParameterStrategy.name!r} needs, "
            "got samples with different weights. Let all samples of a step (of all accumulated batches) "
            "belong to one group, by a batch sampler and a rule of whole samples, or use the strategy "
            f"{GradientStrategy.name!r}."
        )
    weights = shared.new_empty(tap.regions.size)
    for units, weight in zip(tap.regions.units.values(), shared, strict=True):
        weights[list(units)] = weight
    return weights


def _untrained(tap: Tap, bounds: WeightBounds) -> list[int]:
    """Return the units of a tap that no sample trains."""
    regions = tap.regions.units.values() if tap.regions else ()
    return [unit for units, out in zip(regions, bounds.untrained().tolist(), strict=False) if out for unit in units]


def block_gradients(
    model: nn.Module,
    weighted: Iterable[tuple[UnitGroup, Tensor]],
    owns: Callable[[Tensor], bool] = lambda parameter: True,
) -> None:
    """Multiply the gradients of units' parameters by weights: SGTM's parameter masking.

    Call it between the backward pass and clipping. It weighs both the rows that make a unit and the columns that read
    it. Biases of the readers serve all units at once, so only data that trains all units may train them. They take
    the smallest weight of any unit, and 0 where that is negative.

    Args:
        model: The model, with gradients.
        weighted: Pairs of a layer's units and the weight of each unit `(size,)`.
        owns: Chooses the parameters whose gradients are weighed, such as those of one optimizer.

    Raises:
        UnknownStructureError: If not all parameters that make and read the units are known.

    Example:
        >>> from lightning_vista.routing.units import unit_group
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> for parameter in model.parameters():
        ...     parameter.grad = torch.ones_like(parameter)
        >>> block_gradients(model, [(unit_group(model, "1"), torch.tensor([0.0, 1.0]))])
        >>> model[0].bias.grad, model[2].weight.grad, model[2].bias.grad
        (tensor([0., 1.]), tensor([[0., 1.]]), tensor([0.]))
    """
    gradients = {plain_name(name): p.grad for name, p in model.named_parameters() if owns(p)}
    weighted = list(weighted)
    for group, _ in weighted:
        check_known(group)
    for group, weights in weighted:
        for piece in (*group.producers, *group.consumers):
            if (gradient := gradients.get(piece.name)) is not None:
                piece.scale(gradient, weights)
        for name in group.shared:
            if (gradient := gradients.get(name)) is not None:
                gradient.mul_(weights.min().clamp(0, 1).to(gradient))
