"""Occurrences: how often each group of each rule is in the data."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_vista.routing.parameter_route import ParameterRoute
from lightning_vista.routing.route import Route
from lightning_vista.routing.rules.rule import Rule

_log = logging.getLogger(__name__)

#: Batches in which a rule is asked for values that it has seen, which waits for the device, and the number of values.
_DESCRIBED_BATCHES, _DESCRIBED_VALUES = 5, 5


class Occurrences:
    """Counts of the samples, or tokens, that belong to each group of each route.

    A group that never occurs leaves its data unrouted, and nothing else would say so.

    Args:
        routes: The routes; those that share a rule are counted once.

    Example:
        >>> from lightning_vista.routing import LabelRule
        >>> route = Route("encoder", LabelRule("label", {"low": [0], "high": [10]}), {"low": "0:2", "high": "rest"})
        >>> occurrences = Occurrences([route])
        >>> occurrences.add({"label": torch.tensor([0, 1, 0])})
        >>> occurrences.counts()
        [{'low': 2, 'high': 0}]
        >>> occurrences.missing()
        ["route 0 (encoder): 'high' never occurred. Values of 'label' were 0, 1."]
    """

    def __init__(self, routes: Sequence[Route | ParameterRoute]) -> None:
        self.routes = list(routes)
        self._rules: dict[int, Rule] = {id(route.rule): route.rule for route in routes}
        self._counts: dict[int, Tensor] = {}
        self._seen: dict[int, dict[str, dict[str, None]]] = {key: {} for key in self._rules}
        self._num_batches = 0

    def add(self, batch: Any, members: Mapping[int, Tensor] | None = None) -> None:
        """Count the groups of a batch. Nothing waits for the device, except for the values of the first batches.

        Args:
            batch: A batch of the dataloader.
            members: The memberships that the rules have computed, by the identity of the rule; computed by default.
        """
        for key, rule in self._rules.items():
            tensor = rule.memberships(batch) if members is None else members[key]
            found = (tensor > 0).flatten(0, -2).sum(0)
            self._counts[key] = found + self._counts[key] if key in self._counts else found
            if self._num_batches < _DESCRIBED_BATCHES:
                for field, values in rule.describe(batch).items():
                    self._seen[key].setdefault(field, {}).update(dict.fromkeys(values))
        self._num_batches += 1

    def agree(self, device: torch.device) -> None:
        """Add up the counts of all processes; every process must call it.

        Args:
            device: The device of the process.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return
        for key, rule in self._rules.items():
            counts = self._counts.get(key, torch.zeros(len(rule.groups), dtype=torch.long)).to(device)
            dist.all_reduce(counts)
            self._counts[key] = counts

    def counts(self) -> list[dict[str, int]]:
        """Return the number of samples, or tokens, of each group, for each route."""
        found = []
        for route in self.routes:
            counts = self._counts.get(id(route.rule))
            numbers = [0] * len(route.rule.groups) if counts is None else counts.tolist()
            found.append(dict(zip(route.rule.groups, numbers, strict=True)))
        return found

    def missing(self) -> list[str]:
        """Return a sentence for each group of a route that never occurred; none before the first batch."""
        if not self._num_batches:
            return []
        return [
            f"route {number} ({', '.join(route.patterns)}): {group!r} never occurred.{self._values(route.rule)}"
            for number, (route, counts) in enumerate(zip(self.routes, self.counts(), strict=True))
            for group, count in counts.items()
            if not count
        ]

    def warn(self, where: str) -> None:
        """Warn of groups that the data does not have.

        Args:
            where: The data, for the warning.
        """
        if missing := self.missing():
            _log.warning(
                "Routing: %s had no data of these groups.\n%s\nCheck the rules' values and their types: 0 is not '0'.",
                where,
                "\n".join(f"- {sentence}" for sentence in missing),
            )

    def _values(self, rule: Rule) -> str:
        """Return the values that a rule has seen, as a sentence."""
        sentences = []
        for field, values in self._seen[id(rule)].items():
            shown = sorted(values)[:_DESCRIBED_VALUES]
            more = ", ..." if len(values) > len(shown) else ""
            sentences.append(f" Values of {field} were {', '.join(shown)}{more}.")
        return "".join(sentences)
