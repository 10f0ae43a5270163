"""Strategies of routing: three places where a mask can act, behind the words of the option `strategy`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.options import check_word
from lightning_vista.routing.checks import UnitNeeds, check_forbidden
from lightning_vista.routing.parameter_masks import hook_units
from lightning_vista.routing.parameter_tap import in_any_process
from lightning_vista.routing.step_weights import agree_on
from lightning_vista.routing.tap import Tap
from lightning_vista.routing.weight_bounds import WeightBounds

StrategyName = Literal["gradient", "parameter", "activation"]
DEFAULT_STRATEGY: StrategyName = "gradient"


class MaskStrategy(ABC):
    """Base class of strategies, which apply the weights of regions. Routers and callbacks ask it, and never its name.

    Attributes:
        name: The word of the option `strategy`.
        masks_parameters: Whether gradients of parameters are weighed, rather than those of tensors.
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

    def attach(self, taps: Sequence[Tap], model: nn.Module) -> list[RemovableHandle]:
        """Register hooks beside those of the routed modules.

        Args:
            taps: The routed modules.
            model: The model that contains them.

        Returns:
            The handles that remove the hooks; most strategies have none.
        """
        return []

    def check_backward(self, taps: Sequence[Tap], model: nn.Module) -> bool:
        """Check after the first backward pass that routing did what it says. Most strategies can check nothing.

        Args:
            taps: The routed modules.
            model: The model, with gradients of this backward pass only.

        Returns:
            False if gradients overflowed, in any process, so that the next backward pass has to be checked.

        Raises:
            RoutingError: If a blocked unit got a gradient.
        """
        return True


class GradientStrategy(MaskStrategy):
    """Weighing of gradients in the backward pass, at the routed tensor (arXiv 2410.04332, section 3)."""

    name = "gradient"
    weighs_backward = True

    def set_mask(self, tap: Tap, weights: Tensor) -> None:
        """Let the hook weigh gradients."""
        tap.weights = weights

    def check_backward(self, taps: Sequence[Tap], model: nn.Module) -> bool:
        """Check that no gradient reached a blocked unit by another path."""
        bounds = agree_on([tap.bounds() for tap in taps])
        blocked = [(tap, _untrained(tap, part)) for tap, part in zip(taps, bounds, strict=True)]
        is_finite = check_forbidden(blocked, model)
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        return not any(in_any_process([not is_finite], device))


class ParameterStrategy(MaskStrategy):
    """Weighing of the gradients of parameters that make and read units: parameter masking (SGTM).

    The backward pass stays as it is, so all samples of a batch must have the same weights.
    """

    name = "parameter"
    masks_parameters = True
    isolates_readers = True

    def attach(self, taps: Sequence[Tap], model: nn.Module) -> list[RemovableHandle]:
        """Hook the parameters of all units."""
        return hook_units(taps, model)

    def set_mask(self, tap: Tap, weights: Tensor) -> None:
        """Let the hooks of parameters weigh each unit by the weight that all samples share."""
        rows = weights.flatten(0, -2)
        if tap.regions is None or not len(rows):
            return
        if not torch.equal(*rows.aminmax(dim=0)):
            raise ValueError(
                f"{tap.name}: expected one group in each batch, as the strategy {self.name!r} needs, got samples with "
                "different weights. Let all samples of a batch belong to one group, by a batch sampler such as "
                f"`homogeneous` and a rule of whole samples, or use the strategy {GradientStrategy.name!r}."
            )
        if not (rows[0] == 1).all():
            tap.unit_weights = rows[0].new_empty(tap.regions.size)
            for units, weight in zip(tap.regions.units.values(), rows[0], strict=True):
                tap.unit_weights[list(units)] = weight


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


def _untrained(tap: Tap, bounds: WeightBounds) -> list[int]:
    """Return the units of a tap that no sample trains."""
    regions = tap.regions.units.values() if tap.regions else ()
    return [unit for units, out in zip(regions, bounds.untrained().tolist(), strict=False) if out for unit in units]
