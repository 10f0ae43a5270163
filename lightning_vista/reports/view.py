"""Views of the results for the page: one rescaling at a time, by environment, level and kind."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from lightning_vista.metrics import Rescaling
from lightning_vista.reports.comparisons import SPLIT_OF_TYPE
from lightning_vista.reports.coverage import left_out, partial_notes
from lightning_vista.reports.joining import BASELINES
from lightning_vista.vista import KINDS
from lightning_vista.vista.problem_sets import outline

Row = Mapping[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Counts:
    """The counts behind a figure.

    Attributes:
        problem_sets: Number of problem sets.
        videos: Number of videos, counted once per problem set.
        unscored: Number of these videos that lack the score of a description.
        ties: Number of these videos whose highest score several descriptions share.
    """

    problem_sets: int = 0
    videos: int = 0
    unscored: int = 0
    ties: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.problem_sets + other.problem_sets,
            self.videos + other.videos,
            self.unscored + other.unscored,
            self.ties + other.ties,
        )


@dataclass(frozen=True)
class View:
    """The results of every model under one rescaling.

    Attributes:
        rescaling: `none`, `video`, `label` or `both`.
        models: Model -> its part of `results.json` under this rescaling.
        kinds: Problem set id -> kind, for sets whose type folder does not determine it.
        partial: Scorers whose runs are partial.
        left_out: Problem sets that comparisons leave out, because not every scorer has scored them.

    Example:
        >>> row = {"environment": "all", "level": 2, "kind": "general", "mean_macro_f1": 0.5}
        >>> view = View("both", {"scorer": {"problem_sets": {}, "aggregates": [row]}})
        >>> view.row("scorer", "all", 2, "general")["mean_macro_f1"]
        0.5
    """

    rescaling: Rescaling
    models: Mapping[str, Mapping[str, Any]]
    kinds: Mapping[str, str] = field(default_factory=dict)
    partial: Collection[str] = ()
    left_out: Collection[str] = ()

    @property
    def scorers(self) -> list[str]:
        """Models that are not baselines, in the order of the results."""
        return [model for model in self.models if model not in BASELINES]

    def label(self, model: str) -> str:
        """Return a model's name with a mark if its run is partial."""
        return f"{model} (part)" if model in self.partial else model

    @cached_property
    def environments(self) -> list[str]:
        """Environments of the aggregates, `all` first; a single environment appears without `all`."""
        found = {str(row["environment"]) for part in self.models.values() for row in part["aggregates"]}
        return sorted(found if len(found) != 2 else found - {"all"}, key=lambda name: (name != "all", name))

    @cached_property
    def _rows(self) -> Mapping[str, Mapping[Key, Row]]:
        return {
            model: {
                (str(row["environment"]), str(row["level"]), str(row["kind"])): row
                for row in self.compared(model)["aggregates"]
            }
            for model in self.models
        }

    def compared(self, model: str) -> Mapping[str, Any]:
        """Return a model's `aggregates`, `order_leak` and `reward_quality` over the sets that all scorers share."""
        part = self.models[model]
        common: Mapping[str, Any] = part.get("common", part)
        return common

    @cached_property
    def has_common(self) -> bool:
        """Say whether the scorers share a problem set."""
        return any(part.get("common", {}).get("problem_sets", 1) for part in self.models.values())

    @cached_property
    def compared_environments(self) -> list[str]:
        """Environments with sets that the scorers share, `all` first; a single one appears without `all`."""
        if not self.has_common:
            return self.environments
        rows = (row for model in self.models for row in self.compared(model)["aggregates"])
        found = {str(row["environment"]) for row in rows}
        return sorted(found if len(found) != 2 else found - {"all"}, key=lambda name: (name != "all", name))

    def chance_rows(self, model: str, name: str) -> Sequence[Row]:
        """Return a model's `verdicts`, `slopes` or `types` over the compared sets; over its own if none are shared."""
        part = self.models[model]
        source = part.get("common", {}) if self.has_common else part
        rows: Sequence[Row] = source.get(name, ())
        return rows

    def num_sets(self, environment: str, level: int | str = "all", kind: str = "all") -> int:
        """Return the number of problem sets over which the models are compared."""
        rows = (self.row(model, environment, level, kind) for model in self.models)
        return max((int(row["problem_sets"]) for row in rows if row), default=0)

    def row(self, model: str, environment: str, level: int | str = "all", kind: str = "all") -> Row | None:
        """Return a model's aggregate over the compared sets of an environment, level and kind; None without any."""
        return self._rows[model].get((environment, str(level), kind))

    def levels_of(self, environment: str, kind: str = "all") -> list[int]:
        """Return the levels at which an environment has problem sets of a kind."""
        keys = {key for rows in self._rows.values() for key in rows}
        return sorted(int(level) for env, level, k in keys if env == environment and k == kind and level != "all")

    def kinds_at(self, environment: str, level: int | str = "all") -> list[str]:
        """Return the kinds that an environment has at a level, in the order of `KINDS`."""
        keys = {key for rows in self._rows.values() for key in rows}
        return [kind for kind in KINDS if (environment, str(level), kind) in keys]

    def place(self, problem_set: str) -> Key:
        """Return environment, level and kind of a problem set, as the aggregates spell them."""
        it = outline(problem_set, self.kinds)
        return it.environment, str(it.level), it.kind

    @cached_property
    def totals(self) -> Mapping[str, Counts]:
        """The counts of every scorer over all of its problem sets, compared or not."""
        return {
            model: sum((_counts_of(entry) for entry in self.models[model]["problem_sets"].values()), Counts())
            for model in self.scorers
        }

    def counts_of_all(self, environment: str, level: int | str = "all", kind: str = "all") -> dict[str, Counts]:
        """Return the counts of every scorer; baselines score everything, and their ties are meaningless."""
        return {model: self.counts(model, environment, level, kind) for model in self.scorers}

    def counts(self, model: str, environment: str, level: int | str = "all", kind: str = "all") -> Counts:
        """Return the counts behind `row`."""
        return self._counts[model].get((environment, str(level), kind), Counts())

    @cached_property
    def _counts(self) -> Mapping[str, Mapping[Key, Counts]]:
        """Sums over the compared sets for every combination of a value and `all`, and by split of the order leak."""
        sums: dict[str, dict[Key, Counts]] = {}
        for model, part in self.models.items():
            rows = sums.setdefault(model, {})
            for problem_set, entry in part["problem_sets"].items():
                if problem_set in self.left_out:
                    continue
                one = _counts_of(entry)
                environment, level, kind = self.place(problem_set)
                split = SPLIT_OF_TYPE.get(outline(problem_set, self.kinds).type)
                groups = (kind, "all", split) if split else (kind, "all")
                for key in product((environment, "all"), (level, "all"), groups):
                    rows[key] = rows.get(key, Counts()) + one
        return sums


def _counts_of(entry: Row) -> Counts:
    return Counts(1, int(entry["videos"]), int(entry["unscored"]), int(entry["ties"]))


def views(results: Mapping[str, Mapping[str, Any]], kinds: Mapping[str, str] | None = None) -> list[View]:
    """Return the view of the chosen rescaling, followed by that of the raw scores if the results hold them.

    Args:
        results: Content of `results.json`.
        kinds: Problem set id -> kind, for sets whose type folder does not determine it.

    Returns:
        One or two views of the same models, with the baselines last.

    Raises:
        ValueError: If `results` holds only baselines, or rescalings differ, so that models cannot be compared.
    """
    rescalings = {part["rescaling"] for model, part in results.items() if model not in BASELINES}
    if len(rescalings) != 1:
        raise ValueError(
            f"`results`: expected models under one rescaling, got {sorted(rescalings) or 'no models'}. "
            "Compute the results of every score table with the same rescaling."
        )
    ordered = dict(sorted(results.items(), key=lambda item: item[0] in BASELINES))
    partial = tuple(partial_notes(ordered))
    absent = left_out(ordered)
    chosen = View(rescalings.pop(), ordered, kinds or {}, partial, absent)
    raw = {model: part["raw"] for model, part in ordered.items() if part.get("raw")}
    return [chosen, View("none", raw, kinds or {}, partial, absent)] if raw and chosen.rescaling != "none" else [chosen]


def number(value: object) -> float | None:
    """Return a finite number, or None for everything else, since JSON lacks NaN.

    Example:
        >>> number(1), number(float("nan")), number("1")
        (1.0, None, None)
    """
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
