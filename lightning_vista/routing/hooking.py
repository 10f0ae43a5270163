"""Hooks that change a tensor which a module takes or returns, whatever container holds it."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.options import check_word
from lightning_vista.routing.place import At
from lightning_vista.routing.units.experts import is_gate


def hook_tensor(
    module: nn.Module,
    at: At,
    change: Callable[[Tensor], Tensor],
    name: str,
    is_active: Callable[[], bool] = lambda: True,
) -> RemovableHandle:
    """Register a function that changes a tensor whenever its module is called.

    Args:
        module: The module.
        at: Whether the tensor is in what the module returns or in what it is given; of several, the first.
        change: The function from the tensor to its replacement.
        name: The module's name, for errors.
        is_active: Decides in each call whether to change anything.

    Returns:
        The handle that removes the hook.

    Raises:
        ValueError: If `at` is another word, or the tensor does not exist, as for the parts of mixtures of experts.
    """
    check_word("at", at, get_args(At))
    if at == "experts" or (at == "output" and is_gate(module)):
        # The scores of a gate have been computed from its logits by the time that it returns both.
        what = "whole experts" if at == "experts" else "the logits of a gate"
        raise ValueError(
            f"{name}: expected a tensor that the model reads from a module, got {what}. To ablate experts, set "
            "`at: end` and `mode: zero` of `Ablation` for a route with `at: experts`."
        )

    # Module hooks that return a new value, rather than hooks on the tensor: those are lost on views that are changed in
    # place, and module backward hooks refuse in-place operations and dataclass outputs.
    def on_output(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return change_first(output, change, name) if is_active() else None

    def on_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_active():
            return None
        # Transformers calls its layers by keyword; positional tensors come first where there are any.
        if any(isinstance(arg, Tensor) for arg in args):
            return change_first(args, change, name), kwargs
        return args, change_first(kwargs, change, name)

    if at == "input":
        return module.register_forward_pre_hook(on_input, with_kwargs=True)
    return module.register_forward_hook(on_output)


def change_first(value: Any, change: Callable[[Tensor], Tensor], name: str) -> Any:
    """Change the first floating-point tensor of what a module takes or returns.

    Args:
        value: A tensor, or a tuple, list, mapping or dataclass that holds one.
        change: The function from the tensor to its replacement.
        name: The module's name, for the error.

    Returns:
        The same kind of value, with the changed tensor.

    Raises:
        ValueError: If `value` holds no such tensor.

    Example:
        >>> import torch
        >>> change_first((None, torch.ones(1), torch.ones(1)), lambda x: 2 * x, "encoder")
        (None, tensor([2.]), tensor([1.]))
    """
    if isinstance(value, Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        items: dict[Any, Any] = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, dict):
        items = value
    else:
        items = dict(enumerate(value)) if isinstance(value, tuple | list) else {}
    for key, item in items.items():
        if isinstance(item, Tensor) and item.is_floating_point():
            return _with(value, key, change(item))
    raise ValueError(
        f"{name}: expected a floating-point tensor, or a tuple, list, mapping or dataclass with one, got "
        f"{type(value).__name__}. Route another module."
    )


def _with(value: Any, key: Any, item: Tensor) -> Any:
    """Return a copy of a container with one item replaced."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{key: item})
    if isinstance(value, dict):
        return {**value, key: item}
    items = [*value[:key], item, *value[key + 1 :]]
    # A named tuple takes its fields one by one, other sequences take one iterable.
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
