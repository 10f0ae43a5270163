"""A trial of surgery on a copy of the module around the units, before anything changes."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_vista.routing.units import UnitGroup, UnknownStructureError
from lightning_vista.routing.units.parameter_index import ModelIndex, is_layer

Change = Callable[[ModelIndex, UnitGroup], None]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

#: What rounding may change, relative to the largest output: sums of more terms are added in another order.
_TOLERANCE = 1e-3


def try_on_copy(index: ModelIndex, group: UnitGroup, change: Change, is_exact: bool) -> None:
    """Refuse a change with which the module around the units would not work.

    A copy of the module runs before and after the change. Where it cannot be called alone, the arguments come from a
    call of the whole transformers model without memory (on torch's meta device). What nothing can call is not tried.

    Args:
        index: The model.
        group: The units to resize.
        change: The change, which takes a model and its units.
        is_exact: Whether outputs must have the same values, beside their shapes.

    Raises:
        UnknownStructureError: If the changed copy raises an error, or returns something else.
    """
    path = _common_module([piece.name for piece in (*group.producers, *group.consumers)])
    if any(parameter.is_meta for parameter in index.modules[path].parameters()):
        return
    module = _copied(index.modules[path])
    inside = _inside(group, path)
    with _alone(), torch.no_grad():
        arguments = next((given for given in _arguments(index, path, inside) if _run(module, given) is not None), None)
        before = None if arguments is None else _run(module, arguments)
        change(ModelIndex(module), inside)
        if arguments is None or before is None:
            return
        where = f"{path or 'the model'!r}, a {type(index.modules[path]).__name__}"
        try:
            after = _output(module, arguments)
        except Exception as error:  # whatever a module raises whose parts no longer fit together
            raise UnknownStructureError(
                f"{where}: expected to work with another number of units, got {type(error).__name__}: {error}. "
                "Something in it is tied to their number, such as a norm over all of them. Nothing was changed."
            ) from error
    difference = (after - before).abs().max() if after.shape == before.shape else None
    if difference is None or (is_exact and not difference <= _TOLERANCE * before.abs().max()):
        what = "shape" if difference is None else "values"
        raise UnknownStructureError(
            f"{where}: expected the same output with new units, got other {what}. Something in it acts on all units at "
            "once, such as a norm. Nothing was changed."
        )


def _common_module(names: Sequence[str]) -> str:
    """Return the name of the smallest module that contains some parameters and what is between them."""
    owners = [name.split(".")[:-2] for name in names]
    common = owners[0]
    for parts in owners[1:]:
        same = next((i for i, pair in enumerate(zip(common, parts, strict=False)) if pair[0] != pair[1]), None)
        common = common[: min(len(common), len(parts)) if same is None else same]
    return ".".join(common)


def _inside(group: UnitGroup, path: str) -> UnitGroup:
    """Return the same units with the names of parameters within a module."""
    prefix = f"{path}." if path else ""
    producers, consumers = (
        tuple(replace(piece, name=piece.name.removeprefix(prefix)) for piece in pieces)
        for pieces in (group.producers, group.consumers)
    )
    return replace(group, producers=producers, consumers=consumers, shared=())


def _copied(module: nn.Module, meta: bool = False) -> nn.Module:
    """Return a copy in evaluation mode and without hooks, on the CPU in single precision or on the meta device."""
    # Parameters are copied beforehand, so that nothing of a model on the meta device needs memory.
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        new = tensor.detach().to("meta") if meta else tensor.detach().clone().cpu()
        # One type for all, which random arguments have too, and which all kernels know.
        new = new.float() if new.is_floating_point() else new
        memo[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
    copied = copy.deepcopy(module, memo).eval()
    for part in copied.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks):
            hooks.clear()
    return copied


def _arguments(index: ModelIndex, path: str, group: UnitGroup) -> Iterator[Arguments]:
    """Yield arguments with which a module may be called, from the simplest."""
    module = index.modules[path]
    first = next((part for part in module.modules() if is_layer(part)), None)
    if first is not None:
        width = first.get_parameter("weight")
        if width.dim() > 2:
            yield (torch.randn(2, width.shape[1], *[12] * (width.dim() - 2), dtype=torch.float32),), {}
        else:
            columns = ModelIndex(first).columns("")[0]
            for shape in ((2, 3), (2,)):
                yield (torch.randn(*shape, width.shape[columns.dim], dtype=torch.float32),), {}
    if (captured := _captured(index, path)) is not None:
        yield captured


def _captured(index: ModelIndex, path: str) -> Arguments | None:
    """Return the arguments of a module in a call of the transformers model around it, with other values."""
    parts = path.split(".") if path else []
    around = [".".join(parts[:length]) for length in range(len(parts) + 1)]
    for holder in around:
        model: Any = index.modules[holder]
        if not hasattr(model, "main_input_name"):
            continue
        copied = _copied(model, meta=True)
        inner = ModelIndex(copied).modules[path.removeprefix(f"{holder}." if holder else "")]
        found: list[Arguments] = []
        _keep_arguments(inner, found)
        for inputs in _inputs(model):
            # Some models read values, which meta tensors lack; what was called before counts.
            with suppress(Exception):
                copied(**inputs)
            if found:
                args, kwargs = found[0]
                return _materialized(args), _materialized(kwargs)
    return None


def _keep_arguments(module: nn.Module, found: list[Arguments]) -> None:
    """Append what a module is called with to a list."""
    module.register_forward_pre_hook(lambda _, args, kwargs: found.append((args, kwargs)), with_kwargs=True)


def _inputs(model: Any) -> Iterator[dict[str, Tensor]]:
    """Yield tokens, and what else a transformers model may be called with."""
    yield {"input_ids": torch.zeros(1, 4, dtype=torch.long, device="meta")}
    config = getattr(model.config, "vision_config", model.config)
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if isinstance(size, int):
        yield {"pixel_values": torch.zeros(1, channels, size, size, device="meta")}


def _materialized(value: Any) -> Any:
    """Return arguments whose meta tensors have become random numbers, or zeros where they are integers."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            return torch.randn(value.shape, dtype=torch.float32)
        # Attention that may look nowhere returns NaN; a token or a position of 0 always exists.
        return torch.full(value.shape, value.dtype == torch.bool, dtype=value.dtype)
    if isinstance(value, dict):
        return {key: None if "past" in key or "cache" in key else _materialized(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_materialized(item) for item in value)
    return value


def _run(module: nn.Module, arguments: Arguments) -> Tensor | None:
    """Return a module's output, or None if it cannot be called so."""
    try:
        output = _output(module, arguments)
        return output if output.isfinite().all() else None
    except Exception:  # whatever a module raises on arguments that are not its own
        return None


def _output(module: nn.Module, arguments: Arguments) -> Tensor:
    """Return the first tensor of what a module returns."""
    args, kwargs = arguments
    output = module(*args, **kwargs)
    items = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else [output]
    first = next(item for item in items if isinstance(item, Tensor))
    return first.double()


@contextmanager
def _alone() -> Iterator[None]:
    """Leave random numbers and autocast of the program as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
