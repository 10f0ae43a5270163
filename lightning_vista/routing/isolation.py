"""Isolation of blocked units from the steps of optimizers."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.strategies import DEFAULT_STRATEGY, MaskStrategy, StrategyName, find_strategy
from lightning_vista.routing.units import ParameterSlice, UnitGroup

_UNSUPPORTED = (torch.optim.LBFGS, torch.optim.Rprop, torch.optim.Adafactor)


class OptimizerIsolation:
    """Lets an optimizer's step pass by blocked units: their parameters and its state about them stay as they are.

    A gradient of zero is not enough, since momentum and weight decay still move a parameter. What is blocked is copied
    before the step and put back after it; nothing else is copied. Scalars of the state, such as Adam's count of steps,
    belong to whole parameters and go on.

    Args:
        optimizer: One that updates and remembers each entry by itself (SGD, Adam, AdamW, RMSprop and the like).
        model: The model whose parameters it has, among others perhaps.
        strategy: A strategy or its word. "gradient" isolates the rows that make blocked units. "parameter" isolates
            the columns that read them as well, and the readers' biases, see `block_gradients`.

    Raises:
        ValueError: If the optimizer's state has no entry for each entry of a parameter, or if the strategy blocks no
            gradients.

    Example:
        >>> from lightning_vista.routing.units import unit_group
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.5)
        >>> isolation = OptimizerIsolation(optimizer, model)
        >>> before = model[0].weight[1].item()
        >>> model(torch.ones(1, 1)).sum().backward()
        >>> isolation.block([(unit_group(model, "1"), [1])])
        >>> optimizer.step()
        >>> model[0].weight[1].item() == before
        True
        >>> isolation.remove()
    """

    def __init__(
        self, optimizer: Optimizer, model: nn.Module, strategy: StrategyName | MaskStrategy = DEFAULT_STRATEGY
    ) -> None:
        self._strategy = strategy if isinstance(strategy, MaskStrategy) else find_strategy(strategy)
        self._strategy.check_isolation()
        if isinstance(optimizer, _UNSUPPORTED):
            raise _unsupported(optimizer)
        mine = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self._parameters = {plain_name(name): p for name, p in model.named_parameters() if id(p) in mine}
        self._optimizer = optimizer
        self._kept: list[_Kept] = []
        self._handle = optimizer.register_step_post_hook(self._restore)

    def block(self, units: Iterable[tuple[UnitGroup, Sequence[int]]]) -> None:
        """Copy what the next step must not change; in place of what an earlier call copied.

        To be called at any time after the last step, such as in `on_before_optimizer_step`.

        Args:
            units: Groups and their blocked units.
        """
        self._kept = [
            _Kept(piece, self._parameters[piece.name], blocked, self._optimizer)
            for group, blocked in units
            for piece, blocked in self._pieces(group, blocked)
            if piece.name in self._parameters and piece.entries(blocked)
        ]

    def remove(self) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()
        self._kept = []

    def _pieces(self, group: UnitGroup, blocked: Sequence[int]) -> Iterable[tuple[ParameterSlice, Sequence[int]]]:
        """The slices to keep, and which of their units."""
        yield from ((piece, blocked) for piece in group.producers)
        if self._strategy.isolates_readers:
            yield from ((piece, blocked) for piece in group.consumers)
            for name in group.shared if blocked else ():
                yield ParameterSlice(name, dim=0), range(len(self._parameters.get(name, ())))

    def _restore(self, *_: object) -> None:
        kept, self._kept = self._kept, []
        for part in kept:
            part.restore()


class _Kept:
    """Entries of one parameter and of the optimizer's state about it, as they were.

    Args:
        piece: Which dimension of which parameter.
        parameter: The parameter.
        units: The units to keep.
        optimizer: The optimizer.
    """

    def __init__(self, piece: ParameterSlice, parameter: Tensor, units: Sequence[int], optimizer: Optimizer) -> None:
        self.parameter, self.dim, self.optimizer = parameter, piece.dim, optimizer
        self.entries = torch.tensor(piece.entries(units), device=parameter.device)
        self.values = {key: tensor.index_select(self.dim, self.entries) for key, tensor in self._tensors().items()}

    def restore(self) -> None:
        """Put the entries back; state that the step made is zero, as if there had been none."""
        for key, tensor in self._tensors().items():
            if key in self.values:
                tensor.index_copy_(self.dim, self.entries, self.values[key])
            else:
                tensor.index_fill_(self.dim, self.entries, 0)

    def _tensors(self) -> dict[str, Tensor]:
        """The parameter, under the empty name, and the tensors of its state that have its shape."""
        state = self.optimizer.state.get(self.parameter, {})
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor) and value.dim() > 0}
        if any(tensor.shape != self.parameter.shape for tensor in tensors.values()):
            raise _unsupported(self.optimizer)
        return {"": self.parameter.detach(), **tensors}


def _unsupported(optimizer: Optimizer) -> ValueError:
    return ValueError(
        "Expected an optimizer whose state has an entry for each entry of a parameter, zero at first, such as SGD or "
        f"AdamW, got {type(optimizer).__name__}: its steps cannot leave single units out. Use another optimizer, or no "
        "isolation."
    )
