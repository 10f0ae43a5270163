"""Taps on parameters: the hooks of a route on whole parameters."""

from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.leaves import hook_leaf
from lightning_vista.routing.parameter_route import ParameterRoute


class ParameterTap:
    """The parameters that one route weighs, and what they received.

    Args:
        route: The route.
        model: The model that contains the parameters.

    Attributes:
        table: The route's weights `(groups, 1)`.
        members: The memberships of this batch `(batch[, tokens], groups)`.

    Raises:
        ValueError: If the route names no parameter of the model.
    """

    def __init__(self, route: ParameterRoute, model: nn.Module) -> None:
        self.route = route
        self.table = route.weight_table()
        self.parameters = list(route.find(model).values())
        self.members: Tensor | None = None
        self._weight = 1.0
        # A clock of batches tells what came before an optimizer's last step, for any number of optimizers: each batch
        # is one tick, and a parameter remembers the last one in which something reached it.
        self._batch = 1
        self._received = [0] * len(self.parameters)
        self._stepped: dict[Optimizer, tuple[int, int]] = {}

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks.

        Returns:
            The handles that remove them.
        """
        return [hook_leaf(parameter, partial(self._weigh, number)) for number, parameter in enumerate(self.parameters)]

    def weigh(self, weights: Tensor) -> None:
        """Set the weight of a batch.

        Args:
            weights: The weight of each sample, or token `(batch[, tokens], 1)`.

        Raises:
            ValueError: If samples differ in their weights.
        """
        self.clear()
        if not weights.numel():
            return
        lowest, highest = torch.stack(weights.aminmax()).tolist()  # one transfer: on an accelerator it waits
        if lowest != highest:
            raise ValueError(
                f"ParameterRoute on {list(self.route.patterns)}: expected samples of one weight in a batch, got "
                f"weights from {lowest:g} to {highest:g}. Let all samples of a batch belong to one group, by a batch "
                "sampler such as `homogeneous` and a rule of whole samples, or use a `Route` on a module."
            )
        self._weight = lowest

    def clear(self) -> None:
        """Forget the batch: later backward passes are not weighed."""
        self.members = None
        self._weight = 1.0
        self._batch += 1

    def hold(self, optimizer: Optimizer) -> None:
        """Take away the gradients of parameters that received nothing since the optimizer's last step.

        Every process must call it: a parameter that received something in one of them is trained in all.

        Args:
            optimizer: The optimizer, whose parameters alone count. It is about to step.
        """
        last, before = self._stepped.get(optimizer, (0, 0))
        # A second step after the same batch uses the gradients of the first.
        since = before if last == self._batch else last
        self._stepped[optimizer] = (self._batch, since)
        mine = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        owned = [
            (parameter, batch > since)
            for parameter, batch in zip(self.parameters, self._received, strict=True)
            if id(parameter) in mine
        ]
        flags = in_any_process([is_trained for _, is_trained in owned], self.parameters[0].device)
        for (parameter, _), is_trained in zip(owned, flags, strict=True):
            if not is_trained:
                parameter.grad = None  # optimizers skip it: no momentum, no decay, no count of steps

    def _weigh(self, number: int, gradient: Tensor) -> Tensor | None:
        """Weigh what a backward pass adds to a parameter's gradient."""
        if self._weight == 0:
            return torch.zeros_like(gradient)  # not `0 * gradient`, which is NaN where the gradient is infinite
        self._received[number] = self._batch
        return None if self._weight == 1 else gradient * self._weight


def in_any_process(flags: list[bool], device: torch.device) -> list[bool]:
    """Return for each flag whether it is set in any process; every process must call it.

    Args:
        flags: The flags, the same number in all processes.
        device: The device for what processes tell each other.

    Returns:
        The flags of all processes together.
    """
    if not flags or not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return flags
    shared = torch.tensor(flags, dtype=torch.uint8, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return [bool(flag) for flag in shared.tolist()]
