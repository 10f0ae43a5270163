"""Isolation of blocked units from the steps of optimizers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_vista.routing.naming import plain_name
from lightning_vista.routing.sharding import local, local_entries
from lightning_vista.routing.strategies import DEFAULT_STRATEGY, MaskStrategy, StrategyName, find_strategy
from lightning_vista.routing.units import ParameterSlice, UnitGroup, UnknownStructureError
from lightning_vista.routing.units.group import check_known

#: LBFGS keeps a history of the whole model, Adafactor factored moments, Rprop step sizes that do not start at zero.
_UNSUPPORTED = (torch.optim.LBFGS, torch.optim.Rprop, torch.optim.Adafactor)


class OptimizerIsolation:
    """Protection of blocked units from an optimizer: their parameters and optimizer state do not change in its step.

    A gradient of zero is not enough, since momentum and weight decay still move a parameter. Blocked entries are copied
    before the step and restored after it; nothing else is copied. Scalars of the state, such as Adam's step count,
    belong to whole parameters and keep counting.

    Args:
        optimizer: An optimizer that updates each entry by itself (SGD, Adam, AdamW, RMSprop and the like).
        model: The model that contains the optimizer's parameters.
        strategy: A strategy or its word. "gradient" and "activation" isolate the rows that make blocked units.
            "parameter" isolates the columns that read them and the readers' biases too, see `block_gradients`.

    Raises:
        ValueError: If the optimizer's state has no entry for each entry of a parameter.

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
        if isinstance(optimizer, _UNSUPPORTED):
            raise _unsupported(optimizer)
        self._model, self._optimizer = model, optimizer
        self._named = _by_name(model)
        self._kept: list[_Kept] = []
        # After the step only: Lightning runs the backward pass inside `optimizer.step(closure)`, so that the units to
        # block are unknown when the step starts.
        self._handle = optimizer.register_step_post_hook(self._restore)

    def block(
        self,
        units: Iterable[tuple[UnitGroup, Sequence[int]]],
        silent: Iterable[tuple[UnitGroup, Sequence[int]]] = (),
    ) -> None:
        """Copy what the next step must not change; this replaces the copies of an earlier call.

        Call it at any time between two steps, such as in `on_before_optimizer_step`.

        Args:
            units: Pairs of a layer's units and the indices of those that are blocked.
            silent: Pairs of a layer's units and the indices of those that were zero in the forward pass. They are
                isolated like blocked ones, and so are the entries of their readers that got no gradient.

        Raises:
            UnknownStructureError: If not all parameters that make the units are known, or the model has lost one.
        """
        units, silent = list(units), list(silent)
        for group, _ in units + silent:
            check_known(group, readers=self._strategy.isolates_readers)
        # Manual optimization may have several optimizers, each with a part of the model; others' parameters are
        # skipped. They are read each time, since callbacks that unfreeze layers add parameters during training.
        mine = {id(parameter) for group in self._optimizer.param_groups for parameter in group["params"]}
        parameters = self._parameters()
        rows = [(piece, blocked) for group, blocked in units + silent for piece in group.producers]
        readers = [piece for group, blocked in units for piece in self._readers(group, blocked, parameters)]
        columns = [(piece, zeroed) for group, zeroed in silent for piece in group.consumers]
        # Units that are zero teach their readers nothing, unless something between the two makes another value of zero,
        # such as a sigmoid. Only the gradient tells, entry by entry.
        kept = [(piece, chosen, False) for piece, chosen in rows + readers]
        kept += [(piece, chosen, True) for piece, chosen in columns]
        if missing := sorted({piece.name for piece, _, _ in kept} - set(parameters)):
            raise UnknownStructureError(
                f"`model`: expected the parameters that routed units had at the start, got a model without {missing}. "
                "Change modules before routes are attached, or turn isolation off."
            )
        self._kept = [
            _Kept(piece, parameters[piece.name], chosen, self._optimizer, only_untouched)
            for piece, chosen, only_untouched in kept
            if id(parameters[piece.name]) in mine and piece.entries(chosen)
        ]

    def remove(self) -> None:
        """Remove the hook from the optimizer."""
        self._handle.remove()
        self._kept = []

    def _parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the model by name, also by the names from before a change such as pruning."""
        named = _by_name(self._model)
        # Pruning and parametrization rename a parameter and keep the object.
        left = {id(parameter) for parameter in named.values()}
        self._named = {name: p for name, p in self._named.items() if id(p) in left} | named
        return self._named

    def _readers(
        self, group: UnitGroup, blocked: Sequence[int], parameters: Mapping[str, Tensor]
    ) -> Iterator[tuple[ParameterSlice, Sequence[int]]]:
        """Yield the slices of readers to keep, and the units of each."""
        if not self._strategy.isolates_readers:
            return
        yield from ((piece, blocked) for piece in group.consumers)
        # A reader's bias acts for all of its units, so it may not move as soon as one of them is blocked.
        for name in group.shared if blocked else ():
            yield ParameterSlice(name, dim=0), range(len(parameters.get(name, ())))

    def _restore(self, *_: object) -> None:
        kept, self._kept = self._kept, []
        for part in kept:
            part.restore()


class _Kept:
    """Entries of one parameter and of its optimizer state, as they were before a step.

    Args:
        piece: The parameter and the dimension along which units lie.
        parameter: The parameter itself.
        units: The units to keep.
        optimizer: The optimizer with the state.
        only_untouched: Whether to keep only those entries whose gradient is zero.
    """

    def __init__(
        self,
        piece: ParameterSlice,
        parameter: Tensor,
        units: Sequence[int],
        optimizer: Optimizer,
        only_untouched: bool = False,
    ) -> None:
        self.parameter, self.dim, self.optimizer = parameter, piece.dim, optimizer
        entries = torch.tensor(piece.entries(units), device=parameter.device)
        self.entries = local_entries(parameter, piece.dim, entries)  # each process keeps its own
        self.changed: Tensor | None = None
        if only_untouched and parameter.grad is not None:
            self.changed = local(parameter.grad).index_select(self.dim, self.entries) != 0
        self.values = {key: tensor.index_select(self.dim, self.entries) for key, tensor in self._tensors().items()}

    def restore(self) -> None:
        """Restore the entries; state that the step created becomes zero, as if there had been no step."""
        # The first step of an optimizer creates its state, which has no earlier value to restore.
        for key, tensor in self._tensors().items():
            after = tensor.index_select(self.dim, self.entries)
            before = self.values.get(key, torch.zeros_like(after))
            # A choice on the device, so that nothing waits for it.
            restored = before if self.changed is None else torch.where(self.changed, after, before)
            tensor.index_copy_(self.dim, self.entries, restored)

    def _tensors(self) -> dict[str, Tensor]:
        """Return the parameter, under the empty name, and the tensors of its state that share its shape."""
        state = self.optimizer.state.get(self.parameter, {})
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor) and value.dim() > 0}
        if any(tensor.shape != self.parameter.shape for tensor in tensors.values()):
            raise _unsupported(self.optimizer)
        return {key: local(tensor) for key, tensor in {"": self.parameter.detach(), **tensors}.items()}


def _by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a model under all of their names."""
    return {plain_name(name): parameter for name, parameter in model.named_parameters(remove_duplicate=False)}


def _unsupported(optimizer: Optimizer) -> ValueError:
    return ValueError(
        "`optimizer`: expected one whose state has an entry for each entry of a parameter, zero at first, such as SGD "
        f"or AdamW, got {type(optimizer).__name__}. Use another optimizer, or turn isolation off."
    )
