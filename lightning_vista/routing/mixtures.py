"""Hooks on mixtures of experts, whose routed values no module takes or returns as a tensor of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_vista.routing.routing_error import RoutingError


class ChosenWeights(NamedTuple):
    """Factors that routes apply to the experts that a gate chose.

    Attributes:
        weights: The factor of the gradient of each chosen expert's contribution `(rows, chosen)`; None for no masking.
        factors: The factor of the contribution itself, of the same shape; None for no masking.
        spread: Turns the squared gradients of rows `(rows,)` into energies `(2, groups, regions)`, behind
            the mask and before it.
        probe: Zeros `(2, groups, regions)` whose gradient is these energies; None to not measure them.
    """

    weights: Tensor | None
    factors: Tensor | None
    spread: Callable[[Tensor], Tensor]
    probe: Tensor | None


def hook_experts(
    module: nn.Module, weigh: Callable[[Tensor], ChosenWeights | None], name: str, is_active: Callable[[], bool]
) -> RemovableHandle:
    """Mask what each expert contributes to the output of a mixture.

    A mixture returns `y = sum_e s_e * f_e(x)` over the experts that a gate chose with scores `s`. Routed, each term
    becomes `m_e * s_e * f_e(x) + (1 - m_e) * stop_gradient(s_e * f_e(x))`. No tensor holds the terms: experts are
    computed by fused kernels. But `y` is linear in the scores, so that the gradients of the routed sum are those of a
    sum with the scores `m_e * s_e`. The module computes that sum too, and only its gradients are used.

    Args:
        module: The module that holds all experts; it takes tokens, the chosen experts and their scores.
        weigh: The function from the chosen experts `(rows, chosen)` to what routes apply to them; None for nothing.
        name: The module's name, for errors.
        is_active: Decides in each call whether to change anything.

    Returns:
        The handle that removes the hook.
    """
    is_checked = False

    def on_output(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
        nonlocal is_checked
        if not is_active():
            return None
        scores, chosen = _scores(args, kwargs, name)
        if (applied := weigh(chosen)) is None:
            return None
        call = partial(_call_with, module, args, kwargs, scores)
        if not is_checked and not torch.compiler.is_compiling():
            _check_linear(call, scores, output, name)
            is_checked = True
        kept = scores if applied.factors is None else scores * applied.factors.to(scores)
        if applied.factors is not None:
            # With weights only the values of this sum count, not its gradients.
            with torch.set_grad_enabled(torch.is_grad_enabled() and applied.weights is None):
                output = call(kept)
        if applied.weights is None:
            return output
        result: Tensor = _GradientOf.apply(
            output.detach(), call(kept * applied.weights.to(scores)), applied.spread, applied.probe
        )
        return result

    return module.register_forward_hook(on_output, with_kwargs=True)


def _call_with(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], scores: Tensor, others: Tensor
) -> Tensor:
    """Return what a module computes with other scores."""
    replaced = {id(scores): others}
    # `forward` itself, since a call would run the module's hooks again.
    result: Tensor = module.forward(
        *(replaced.get(id(value), value) for value in args),
        **{key: replaced.get(id(value), value) for key, value in kwargs.items()},
    )
    return result


def _check_linear(call: Callable[[Tensor], Tensor], scores: Tensor, output: Tensor, name: str) -> None:
    """Refuse experts whose output is not a sum with scores as factors, such as those that scale what experts are given.

    Raises:
        RoutingError: If twice the scores are not twice the output.
    """
    with torch.no_grad():
        difference = (call(2 * scores) - 2 * output).abs().max()
    if not difference <= 0.01 * output.detach().abs().max():
        raise RoutingError(
            [
                f"{name}: expected experts whose outputs are added up with the scores as factors, got some that use "
                "the scores otherwise. Route the block around them, or their parameters by a `ParameterRoute`."
            ]
        )


def _scores(args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> tuple[Tensor, Tensor]:
    """Return the scores and indices of chosen experts from what a module is called with."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    chosen = next((tensor for tensor in tensors if not tensor.is_floating_point() and tensor.dim() == 2), None)
    # Tokens come first and may have the same shape.
    like = [t for t in tensors[1:] if t.is_floating_point() and chosen is not None and t.shape == chosen.shape]
    if chosen is None or not like:
        raise ValueError(
            f"{name}: expected to be called with tokens, the chosen experts and their scores, both (rows, chosen), got "
            f"shapes {[tuple(tensor.shape) for tensor in tensors]}. Route the block around the experts."
        )
    return like[0], chosen


class _GradientOf(torch.autograd.Function):
    """The operation that returns one tensor and gives its gradient to another, which was computed for it."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        routed: Tensor,
        spread: Callable[[Tensor], Tensor],
        probe: Tensor | None,
    ) -> Tensor:
        """Return `value` as a tensor of its own."""
        ctx.spread = spread
        return value.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, Tensor | None]:
        """Pass the gradient on, and give the probe its energies."""
        energies = ctx.spread(grad.float().square().sum(-1)) if ctx.needs_input_grad[3] else None
        return None, grad, None, energies


def hook_logits(
    module: nn.Module,
    weigh: Callable[[Tensor], Callable[[Tensor], Tensor] | None],
    name: str,
    is_active: Callable[[], bool],
) -> RemovableHandle:
    """Mask the logits of a gate, from which it computes the scores that it returns beside them.

    A hook on the tensor, because what the module returns is too late: its scores have been computed from the logits by
    then. The logits are the product of a matrix and not a view, so that the hook is never lost.

    Args:
        module: The gate; it returns logits, scores and the chosen experts.
        weigh: The function from the logits to the function that weighs their gradient; None for no masking.
        name: The module's name, for errors.
        is_active: Decides in each call whether to change anything.

    Returns:
        The handle that removes the hook.
    """
    is_checked = False

    def on_output(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        nonlocal is_checked
        if not is_active():
            return
        if not is_checked and not torch.compiler.is_compiling():
            _check_gate(module, (*args, *kwargs.values()), output, name)
            is_checked = True
        logits = output[0]
        if (hook := weigh(logits)) is not None and logits.requires_grad:
            logits.register_hook(hook)

    return module.register_forward_hook(on_output, with_kwargs=True)


def _check_gate(module: nn.Module, inputs: tuple[Any, ...], output: Any, name: str) -> None:
    """Refuse a gate that does not return its logits first, or whose scores have parameters of their own.

    Raises:
        RoutingError: If it is such a gate.
    """
    tokens = next(value for value in inputs if isinstance(value, Tensor))
    weight, bias = module.get_parameter("weight").detach(), getattr(module, "bias", None)
    is_tuple = isinstance(output, tuple) and isinstance(output[0], Tensor)
    with torch.no_grad():
        rows = tokens.detach().reshape(-1, weight.shape[-1]).to(weight.dtype)
        expected = nn.functional.linear(rows, weight, None if bias is None else bias.detach()).float()
    logits = output[0] if is_tuple else expected.new_empty(0)
    # Loose enough for half precision; probabilities or scores are another matter.
    is_linear = logits.shape == expected.shape and (logits.detach().float() - expected).abs().max() <= 0.05 * (
        expected.abs().max() + 1e-6
    )
    others = [value for value in output[1:] if isinstance(value, Tensor)] if is_tuple else []
    if not is_linear or any(_bypasses(value, logits) for value in others):
        raise RoutingError(
            [
                f"{name}: expected a gate that returns its logits, and beside them only what it computes from these, "
                f"got a {type(module).__name__}. Route the block around it, or the whole experts (at='experts')."
            ]
        )


def _bypasses(value: Tensor, logits: Tensor) -> bool:
    """Return whether the gradient of a tensor reaches parameters on another way than through the logits."""
    found, seen = [value.grad_fn], {logits.grad_fn, None}
    while found:
        node = found.pop()
        if node in seen or node is None:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # the node that adds to a parameter's gradient
            return True
        found += [parent for parent, _ in node.next_functions]
    return False
