"""The verdict table: one row per scorer, one column per aspect, each a verdict against chance."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.track import Dot, draw_track
from lightning_vista.reports.style import interval
from lightning_vista.reports.verdicts import ABOVE, ASPECTS, BELOW, SEQUENTIAL
from lightning_vista.reports.view import Row, View, number


@dataclass(frozen=True)
class Aspect:
    """A column of the table: what the problem sets ask for.

    Attributes:
        name: Key of the aspect.
        title: Heading.
        scope: Levels, and the sort of orders.
        sets: Number of problem sets.
    """

    name: str
    title: str
    scope: str
    sets: int


@dataclass(frozen=True)
class VerdictCell:
    """One verdict.

    Attributes:
        text: Mean macro F1.
        verdict: Words against chance.
        tone: `good`, `bad` or `none`, for its look.
        sets: Number of problem sets.
        track: Picture of the figure.
        detail: Interval, chance and difference in words.
    """

    text: str
    verdict: str
    tone: str
    sets: int
    track: Markup
    detail: str


@dataclass(frozen=True)
class VerdictTable:
    """The table of one environment and rescaling: its columns, and each model's cells in their order."""

    aspects: Sequence[Aspect]
    rows: Sequence[tuple[Member, Sequence[VerdictCell | None]]]


def verdict_table(view: View, members: Sequence[Member], environment: str) -> VerdictTable:
    """Build the table.

    Args:
        view: Results under one rescaling.
        members: Models of the page; the expected values of the two baselines are not judged against chance.
        environment: Environment, or `all`.
    """
    found = {member.name: aspect_rows(view, member.name, environment) for member in members}
    judged = [member for member in members if found[member.name]]
    names = [name for name in ASPECTS if any(name in found[member.name] for member in judged)]
    aspects = [_aspect(view, name, [found[member.name] for member in judged], environment) for name in names]
    rows = [
        (member, [_cell(member, row) if (row := found[member.name].get(name)) else None for name in names])
        for member in judged
    ]
    return VerdictTable(aspects, rows)


def aspect_rows(view: View, model: str, environment: str) -> dict[str, Row]:
    """Return a model's rows by aspect, over all levels."""
    rows = view.chance_rows(model, "verdicts")
    return {row["aspect"]: row for row in rows if (row["environment"], row["level"]) == (environment, "all")}


def level_rows(view: View, model: str, environment: str, aspect: str) -> list[Row]:
    """Return a model's rows of an aspect by level, shortest first."""
    rows = [row for row in view.chance_rows(model, "verdicts") if row["environment"] == environment]
    return sorted((r for r in rows if r["aspect"] == aspect and r["level"] != "all"), key=lambda row: int(row["level"]))


def is_trace_free(view: View, environment: str) -> bool:
    """Say whether `order` means the trace-free permutation sets in an environment."""
    rows = (row for model in view.models for row in view.compared(model).get("order_leak", ()))
    return any((row["environment"], row["split"]) == (environment, "go_only") for row in rows)


def _aspect(view: View, name: str, found: Sequence[dict[str, Row]], environment: str) -> Aspect:
    scope = "level 1"
    if name in SEQUENTIAL:
        models = view.models
        levels = sorted({int(row["level"]) for m in models for row in level_rows(view, m, environment, name)})
        scope = f"level {levels[0]}" if len(levels) == 1 else f"levels {levels[0]}–{levels[-1]}"  # noqa: RUF001
    if name == "order" and is_trace_free(view, environment):
        scope = f"trace-free, {scope}"
    return Aspect(name, ASPECTS[name], scope, max(row[name]["problem_sets"] for row in found if name in row))


def _cell(member: Member, row: Row) -> VerdictCell:
    mean, verdict = number(row["mean_macro_f1"]), str(row["verdict"])
    text = "–" if mean is None else f"{mean:.2f}"  # noqa: RUF001  no value
    ends = {"ci_low": row["difference_low"], "ci_high": row["difference_high"]}
    detail = (
        f"95% interval {interval(row, '.2f')}; chance {row['chance']:.2f}; "
        f"difference {row['difference']:+.2f} ({interval(ends, '+.2f')})"
    )
    dot = Dot(mean, number(row["ci_low"]), number(row["ci_high"]))
    track = draw_track(f"{text}, {verdict}", [dot], member.look.colour, member.look.symbol, row["chance"])
    tone = "good" if verdict == ABOVE else "bad" if verdict == BELOW else "none"
    return VerdictCell(text, verdict, tone, int(row["problem_sets"]), track, detail)
