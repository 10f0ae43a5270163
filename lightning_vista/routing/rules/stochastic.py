"""Groups that change at random: data of one group that sometimes count as another."""

import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_vista.options import check_word
from lightning_vista.routing.rules.rule import Rule, float_memberships

Per = Literal["batch", "sample"]
#: The name that stands for no group: ordinary backpropagation.
DEFAULT_MODE = "default"


class StochasticRule(Rule):
    """A rule whose groups change at random, as in GRAM (arXiv 2607.08077, p_as and p_cr) and SGTM's retain data.

    Only rows, samples or tokens, that belong entirely to one group change; others stay as they are.

    The draws depend on the seed, the number of batches before, and the place of a group among the rule's groups: rules
    of one seed draw the same, and so do all processes. Each call of `memberships` counts as a batch. `Router.compute`,
    and so `GradientRouting`, makes one for each rule and training batch, also where batches are accumulated or several
    routes share the rule. Validation, tests and `lightning-vista routing check`, a run of its own, make none. A run
    that resumes with `GradientRouting` draws on; a rule that is used elsewhere resumes by its state.

    Args:
        rule: The rule whose groups change.
        changes: Group -> another group -> the probability of the change. The other group is one of the rule's, a new
            name, which is appended to `groups`, or "default" for no group, which is ordinary backpropagation.
        per: "batch" for one draw for each group in a batch, so that batches of one group remain so, as a
            `ParameterRoute` needs them; "sample" for one for each sample, with all its tokens.
        seed: Random seed.

    Raises:
        ValueError: If a group is unknown, probabilities are negative or above 1 in sum, or `per` is another word.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> labels = LabelRule("topic", {"core": [0], "bio": [1]})
        >>> rule = StochasticRule(labels, {"core": {"core+bio": 0.5}, "bio": {"core+bio": 0.3}})
        >>> rule.groups
        ('core', 'bio', 'core+bio')
        >>> rule.memberships({"topic": torch.tensor([0, 1])})
        tensor([[0., 0., 1.],
                [0., 1., 0.]])
    """

    def __init__(
        self, rule: Rule, changes: Mapping[str, Mapping[str, float]], per: Per = "batch", seed: int = 0
    ) -> None:
        check_word("per", per, get_args(Per))
        if unknown := [group for group in changes if group not in rule.groups]:
            raise ValueError(f"`changes`: expected groups of the rule, {list(rule.groups)}, got {unknown}.")
        if DEFAULT_MODE in rule.groups:
            raise ValueError(f"`rule`: expected no group {DEFAULT_MODE!r}, which stands for no group. Rename it.")
        for group, others in changes.items():
            if any(share < 0 for share in others.values()) or sum(others.values()) > 1 + 1e-9:
                raise ValueError(
                    f"`changes`: expected probabilities of at least 0, and at most 1 together, got {dict(others)} for "
                    f"{group!r}."
                )
        targets = (other for others in changes.values() for other in others if other != DEFAULT_MODE)
        super().__init__(list(dict.fromkeys([*rule.groups, *targets])))
        self.rule = rule
        self.changes = {group: dict(others) for group, others in changes.items()}
        self.per, self.seed = per, seed
        self._num_batches = 0

    def setup(self, datamodule: Any) -> None:
        """Prepare the inner rule."""
        self.rule.setup(datamodule)

    def describe(self, batch: Any) -> Mapping[str, Sequence[str]]:
        """Return the values of the inner rule."""
        return self.rule.describe(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches so far, on which the next draws depend."""
        return {**super().state_dict(), "num_batches": self._num_batches}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue after the batches of another rule."""
        super().load_state_dict(state_dict)
        self._num_batches = state_dict.get("num_batches", 0)

    def memberships(self, batch: Any) -> Tensor:
        """Return the memberships after the changes of this batch, in the shape of the inner rule's."""
        members = float_memberships(self.rule, batch)
        # A generator for each batch: the draws depend on its number alone, so that nothing else must be resumed.
        generator = random.Random(f"{self.seed} {self._num_batches}")
        self._num_batches += 1
        drawn = [self._draw(generator) for _ in range(1 if self.per == "batch" else len(members))]
        # Samples (or 1), groups before, groups after: 1 where a group goes, all 0 for no group.
        table = torch.tensor(drawn, device=members.device, dtype=members.dtype)
        rows = members.view(len(members), -1, len(self.rule.groups))
        is_whole = (rows == 1).any(dim=-1, keepdim=True)
        stays = torch.eye(len(self.rule.groups), len(self.groups)).to(rows)
        changed = torch.where(is_whole, rows @ table, rows @ stays)
        return changed.view(*members.shape[:-1], len(self.groups))

    def _draw(self, generator: random.Random) -> list[list[float]]:
        """Draw where each group of the inner rule goes, as rows of zeros and ones."""
        # A number for each group, also for one that never changes: no group depends on the changes of others.
        goals = [self._pick(group, generator.random()) for group in self.rule.groups]
        return [[float(name == goal) for name in self.groups] for goal in goals]

    def _pick(self, group: str, number: float) -> str:
        """Return the group to which a number from 0 to 1 sends another."""
        others = self.changes.get(group, {})
        bounds = zip(others, accumulate(others.values()), strict=True)
        return next((other for other, bound in bounds if number < bound), group)
