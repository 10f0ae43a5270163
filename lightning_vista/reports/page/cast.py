"""The models of a page: their order, their looks, and which of them are baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vista.reports.joining import BASELINES
from lightning_vista.reports.style import Style, styles
from lightning_vista.reports.view import View, number


@dataclass(frozen=True)
class Member:
    """One model of the page.

    Attributes:
        name: Name of the model.
        index: Its position among the page's models.
        look: Colour and symbol.
        is_baseline: Whether it answers at random or always the same.
        part: Note about its partial run; empty for a complete one.
    """

    name: str
    index: int
    look: Style
    is_baseline: bool = False
    part: str = ""

    @property
    def label(self) -> str:
        """Name, with a mark if the run is partial, for places without the coloured one."""
        return f"{self.name} (part)" if self.part else self.name


def cast(results: Mapping[str, Mapping[str, Any]], view: View, notes: Mapping[str, str]) -> list[Member]:
    """Return the models in the order of the page: the best on order first, then the baselines.

    Args:
        results: Content of `results.json`.
        view: The chosen view.
        notes: Notes about partial runs.
    """
    judges = [model for model in view.models if not is_baseline(model, results)]
    ordered = sorted(judges, key=lambda model: _rank(view, model))
    drawn = [model for model in view.scorers if model not in judges]
    looks = styles([*ordered, *BASELINES])
    grey = looks["random"]
    names = [*ordered, *drawn, *(model for model in BASELINES if model in view.models)]
    return [
        Member(name, place, looks.get(name, grey), name not in judges, notes.get(name, ""))
        for place, name in enumerate(names)
    ]


def is_baseline(model: str, results: Mapping[str, Mapping[str, Any]]) -> bool:
    """Say whether a model is one of the two baselines, or draws its scores at random beside scorers that do not."""
    if model in BASELINES:
        return True
    drawn = [name for name, part in results.items() if part.get("baseline")]
    return model in drawn and len(drawn) < len(results) - len(BASELINES)


def judges_of(members: Sequence[Member]) -> list[Member]:
    """Return the members that are not baselines."""
    return [member for member in members if not member.is_baseline]


def _rank(view: View, model: str) -> tuple[float, float]:
    """Return the sort key of a scorer: its figures on order, then on everything, highest first."""
    rows = view.chance_rows(model, "verdicts")
    order = [row for row in rows if (row["environment"], row["aspect"], row["level"]) == ("all", "order", "all")]
    overall = view.row(model, "all")
    figures = (order[0] if order else None, overall)
    first, second = ((number(row["mean_macro_f1"]) if row else None) for row in figures)
    return -(first if first is not None else -1.0), -(second if second is not None else -1.0)
