"""Learning rates of their own for some parameters, and frozen ones, by the names of parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from lightning_vista.routing.naming import find_parameters

#: Pattern of parameters -> the factor of their learning rate.
Multipliers = Mapping[str, float]


def find_multipliers(model: nn.Module, multipliers: Multipliers) -> dict[nn.Parameter, float]:
    """Find the parameters that patterns name, with the factor of their learning rate.

    Args:
        model: The model.
        multipliers: Pattern -> factor, above 0, in the pattern language of `find_parameters`.

    Returns:
        Parameter -> factor, for the named ones.

    Raises:
        ValueError: If a pattern names no parameter, a factor is not above 0, or two patterns have different factors for
            one parameter; the error lists everything.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        >>> list(find_multipliers(model, {"1.*": 15.0}).values())
        [15.0, 15.0]
    """
    names = {parameter: name for name, parameter in find_parameters(model, ["*"]).items()}
    faults: list[str] = []
    chosen: dict[nn.Parameter, str] = {}
    for pattern, multiplier in multipliers.items():
        if not multiplier > 0:
            faults.append(f"expected factors above 0, got {multiplier} for {pattern!r}. Freeze what shall not move.")
        try:
            found = find_parameters(model, [pattern]).values()
        except ValueError as error:
            faults.append(str(error))
            continue
        for other in {chosen[p] for p in found if p in chosen and multipliers[chosen[p]] != multiplier}:
            shared = next(names[p] for p in found if chosen.get(p) == other)
            faults.append(
                f"expected one factor for each parameter, got {multipliers[other]:g} of {other!r} and {multiplier:g} "
                f"of {pattern!r} for {shared!r}. Narrow a pattern."
            )
        chosen.update(dict.fromkeys(found, pattern))
    if faults:
        raise ValueError(f"learning-rate multipliers: {' '.join(faults)}")
    return {parameter: multipliers[pattern] for parameter, pattern in chosen.items()}


def split_groups(
    groups: Iterable[Mapping[str, Any]], multipliers: Mapping[nn.Parameter, float]
) -> list[dict[str, Any]]:
    """Split an optimizer's groups of parameters by the factor of their learning rate.

    Args:
        groups: Groups as an optimizer takes or keeps them: `params`, `lr` and any other options.
        multipliers: Parameter -> factor; others have 1.

    Returns:
        New groups. Each has the options of its original, with the rates `lr` and `initial_lr` times the factor.

    Example:
        >>> first, second = nn.Parameter(), nn.Parameter()
        >>> parts = split_groups([{"params": [first, second], "lr": 0.5}], {second: 10.0})
        >>> [(len(part["params"]), part["lr"]) for part in parts]
        [(1, 0.5), (1, 5.0)]
    """
    parts = []
    for group in groups:
        factors = [multipliers.get(parameter, 1.0) for parameter in group["params"]]
        for factor in dict.fromkeys(factors):
            part = dict(group)
            for key in ("params", "param_names"):  # names are there if the optimizer was given names
                if key in group:
                    part[key] = [value for value, own in zip(group[key], factors, strict=True) if own == factor]
            for key in ("lr", "initial_lr"):
                if key in group and factor != 1:
                    part[key] = group[key] * factor
            parts.append(part)
    return parts


def freeze_parameters(model: nn.Module, patterns: Sequence[str]) -> list[nn.Parameter]:
    """Freeze parameters by name, before an optimizer or a data parallel strategy collects those to train.

    Args:
        model: The model.
        patterns: Names or patterns, see `find_parameters`.

    Returns:
        The parameters that were trained before, for `unfreeze`.

    Raises:
        ValueError: If a pattern names no parameter; the error suggests close names.
    """
    try:
        frozen = [p for p in find_parameters(model, patterns).values() if p.requires_grad]
    except ValueError as error:
        raise ValueError(f"`freeze`: {error}") from error
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


class ScaledRates:
    """Learning rates that are multiples of what an optimizer and its schedulers say, in each of its steps.

    The optimizer's groups are split at the beginning of a step and whole again after it, and whole within its closure,
    where Lightning calls `training_step`. So schedulers of any kind,
    checkpoints and everything else that reads or sets the rates see the optimizer as it was made, and the factor holds
    for whatever rate they set, also where a scheduler has absolute bounds such as `eta_min` or `max_lr`.

    Args:
        optimizer: An optimizer that keeps its state by parameter.
        multipliers: Parameter -> factor of its learning rate; parameters of other optimizers are ignored.

    Raises:
        ValueError: If the optimizer has one learning rate for all of its parameters together.

    Example:
        >>> import torch
        >>> first, second = (nn.Parameter(torch.zeros(1)) for _ in range(2))
        >>> optimizer = torch.optim.SGD([first, second], lr=1.0)
        >>> rates = ScaledRates(optimizer, {second: 10.0})
        >>> first.grad, second.grad = torch.ones(1), torch.ones(1)
        >>> optimizer.step()
        >>> first.item(), second.item(), len(optimizer.param_groups)
        (-1.0, -10.0, 1)
        >>> rates.remove()
    """

    def __init__(self, optimizer: Optimizer, multipliers: Mapping[nn.Parameter, float]) -> None:
        # LBFGS moves all parameters along one direction. DeepSpeed's optimizers are none of torch's.
        if not isinstance(optimizer, Optimizer) or isinstance(optimizer, LBFGS):
            raise ValueError(
                "`multipliers`: expected an optimizer of torch with a learning rate for each parameter, such as AdamW, "
                f"got {type(optimizer).__name__}. Use another optimizer or strategy."
            )
        self._optimizer, self._multipliers = optimizer, multipliers
        self._whole: list[dict[str, Any]] | None = None
        self._parts: list[dict[str, Any]] = []
        self._handles = [
            optimizer.register_step_pre_hook(self._prepare),
            optimizer.register_step_post_hook(self._join),
        ]

    def remove(self) -> None:
        """Remove the hooks from the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._restore()

    def _prepare(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Split the groups, also anew behind a step's closure, which may set rates."""
        self._split()
        first, given = args[:1], args[1:]  # the optimizer itself comes first
        closure = given[0] if given else kwargs.get("closure")
        if closure is None:
            return None

        def run_whole() -> Any:
            self._restore()
            result = closure()
            self._split()
            return result

        return ((*first, run_whole, *given[1:]), kwargs) if given else (first, {**kwargs, "closure": run_whole})

    def _split(self) -> None:
        self._restore()  # a step that raised has left the parts
        self._whole = self._optimizer.param_groups
        self._parts = split_groups(self._whole, self._multipliers)
        self._optimizer.param_groups = [dict(part) for part in self._parts]

    def _join(self, *_: object) -> None:
        parts = self._optimizer.param_groups
        self._restore()
        # The parts are gone after the step, and with them whatever the optimizer has kept there.
        changed = {key for before, after in zip(self._parts, parts, strict=True) for key in _changed(before, after)}
        if changed:
            raise ValueError(
                "`multipliers`: expected an optimizer that keeps its state by parameter, got "
                f"{type(self._optimizer).__name__}, which keeps {sorted(changed)} by group. Give it groups of its own "
                "with `split_groups`."
            )

    def _restore(self) -> None:
        if self._whole is not None:
            self._optimizer.param_groups, self._whole = self._whole, None


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the options of a group that a step has changed or added."""
    absent = object()
    olds = {key: before.get(key, absent) for key in after}
    return [key for key, old in olds.items() if after[key] is not old and _differ(after[key], old)]


def _differ(value: Any, other: Any) -> bool:
    return isinstance(value, Tensor) or isinstance(other, Tensor) or bool(value != other)
