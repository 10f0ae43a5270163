"""Routes on parameters: the data that trains which parameters, by their names."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_vista.routing.naming import find_parameters
from lightning_vista.routing.place import as_patterns
from lightning_vista.routing.rules.rule import Rule


@dataclass
class ParameterRoute:
    """One route on whole parameters: "hold everything else still for these data" (SGTM on Wikipedia, GRAM).

    What one backward pass adds to the gradients of these parameters is multiplied by
    `m = sum_g member[g] * weight[g] + (1 - sum_g member[g])`. All samples of a batch must have the same `m`; batches
    whose gradients are accumulated may differ. A parameter that received nothing in an optimizer step does not move,
    as if it had been frozen by `requires_grad=False`: neither momentum nor weight decay change it.

    It acts on parameters and not on tensors: everything upstream of them is trained as usual, unless the route has it.
    An adapter of peft is a pattern of names, such as `*.forget.*`.

    Attributes:
        rule: The rule that assigns data to groups.
        weights: Group -> weight: 0 holds the parameters still, 1 trains them, negative values ascend. Groups that are
            not named train them.
        parameters: A name or pattern of parameters in `named_parameters()`, or several. `*` as the first or the last
            part between dots stands for one or more parts.
        exclude: A name or pattern of parameters that are left out, or several.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> rule = LabelRule("is_forget", {"forget": [1]})
        >>> route = ParameterRoute(rule, {"forget": 0.0}, exclude=["1.*"])
        >>> list(route.find(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))))
        ['0.weight', '0.bias']
    """

    rule: Rule
    weights: dict[str, float]
    parameters: str | Sequence[str] = ("*",)
    exclude: str | Sequence[str] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names of parameters, as patterns."""
        return as_patterns(self.parameters)

    @property
    def key(self) -> str:
        """Text that distinguishes the route from others."""
        return f"{','.join(self.patterns)} without {','.join(as_patterns(self.exclude))}"

    def faults(self) -> list[str]:
        """List what is wrong with the route for any model.

        Returns:
            One sentence for each fault.
        """
        groups = list(self.rule.groups)
        unknown = [group for group in self.weights if group not in groups]
        faults = [f"`weights`: expected groups of the rule, {groups}, got {group!r}." for group in unknown]
        if not self.weights:
            faults.append(f"`weights`: expected a weight for at least one of the groups {groups}, got none.")
        if not self.patterns:
            faults.append("`parameters`: expected at least one name or pattern, got none.")
        return faults

    def find(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Find the parameters by name.

        Args:
            model: The model.

        Returns:
            Name -> parameter, in the model's order; a tied parameter once.

        Raises:
            ValueError: If a pattern names no parameter, or `exclude` names all of them.
        """
        found, excluded = find_parameters(model, self.patterns), find_parameters(model, as_patterns(self.exclude))
        # By identity: a tied parameter is left out under any of its names.
        left_out = {id(parameter) for parameter in excluded.values()}
        kept = {name: parameter for name, parameter in found.items() if id(parameter) not in left_out}
        if not kept:
            raise ValueError(
                f"`exclude`: expected to leave some parameters of {list(self.patterns)}, got "
                f"{list(as_patterns(self.exclude))}, which names all of them."
            )
        return kept

    def weight_table(self) -> Tensor:
        """Return the weights as a matrix `(groups, 1)`."""
        return torch.tensor([[self.weights.get(group, 1.0)] for group in self.rule.groups], dtype=torch.float64)
