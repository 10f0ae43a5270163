"""Everything that the page shows for one environment under one rescaling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lightning_vista.reports.order_controls import ControlLine, control_lines
from lightning_vista.reports.page.cast import Member, judges_of
from lightning_vista.reports.page.difference_matrix import DifferenceMatrix, difference_matrix
from lightning_vista.reports.page.length_plots import SmallPlot, length_plots, trace_plots, wrong_order_plots
from lightning_vista.reports.page.reward_table import RewardTable, reward_table
from lightning_vista.reports.page.track import Dot, draw_track
from lightning_vista.reports.page.type_table import Overview, TypeRow, overview, type_rows
from lightning_vista.reports.page.verdict_table import VerdictTable, verdict_table
from lightning_vista.reports.page.verdict_text import read_verdicts, reward_sentence, sentences, title
from lightning_vista.reports.view import View, number


@dataclass(frozen=True)
class Panel:
    """The parts of the page that follow its two switches.

    Attributes:
        environment: Environment, or `all`.
        rescaling: Rescaling of the scores.
        title: The finding.
        sentences: Sentences that support it, in pieces, each with whether it is a scorer's name.
        reward: What the finding means for rewards.
        num_sets: Number of problem sets that are compared.
        num_pairs: Number of (video, problem set) pairs in them.
        verdicts: Verdicts against chance.
        lengths: Steps against order over the number of steps.
        overview: Macro F1 by kind.
        types: Macro F1 by official type.
        traces: Trace-free against mixed orders.
        controls: Results with frames in another order.
        rewards: Right videos above wrong ones.
        wrong_orders: Shares of problem sets in which a wrong order pays.
        differences: Paired differences between models.
        raw: Macro F1 from raw scores and from rescaled ones: scorer, picture, numbers; empty for the raw view.
        hardest: Problem sets with the lowest macro F1 above chance: id, macro F1 minus chance.
    """

    environment: str
    rescaling: str
    title: str
    sentences: Sequence[Sequence[tuple[str, bool]]]
    reward: Sequence[tuple[str, bool]]
    num_sets: int
    num_pairs: int
    verdicts: VerdictTable
    lengths: Sequence[SmallPlot]
    overview: Overview
    types: Sequence[TypeRow]
    traces: Sequence[SmallPlot]
    controls: Sequence[ControlLine]
    rewards: RewardTable
    wrong_orders: Sequence[SmallPlot]
    differences: DifferenceMatrix
    raw: Sequence[tuple[Member, Markup, str]]
    hardest: Sequence[tuple[str, str]]


def build_panels(
    results: Mapping[str, Mapping[str, Any]], shown: Sequence[View], members: Sequence[Member]
) -> list[Panel]:
    """Build the panels: for every view, one for each environment with problem sets to compare.

    Args:
        results: Content of `results.json`.
        shown: Views, the chosen one first.
        members: Models of the page.
    """
    chosen = shown[0]
    return [
        _panel(results, view, chosen, shown, members, environment)
        for view in shown
        for environment in chosen.compared_environments
    ]


def _panel(
    results: Mapping[str, Mapping[str, Any]],
    view: View,
    chosen: View,
    shown: Sequence[View],
    members: Sequence[Member],
    environment: str,
) -> Panel:
    judges = judges_of(members)
    found = {member.name: read_verdicts(view, member.name, environment) for member in judges}
    # Orders of frames, rewards and differences are computed for the chosen rescaling or from raw scores alone, so these
    # parts are the same under every view.
    return Panel(
        environment=environment,
        rescaling=view.rescaling,
        title=title(found),
        sentences=sentences(found),
        reward=reward_sentence(chosen, [member.name for member in judges], environment),
        num_sets=view.num_sets(environment),
        num_pairs=max((view.counts(member.name, environment).videos for member in members), default=0),
        verdicts=verdict_table(view, members, environment),
        lengths=length_plots(view, judges, environment),
        overview=overview(view, members, environment),
        types=type_rows(view, judges, environment),
        traces=trace_plots(chosen, judges, environment),
        controls=control_lines(results, environment),
        rewards=reward_table(chosen, judges, environment),
        wrong_orders=wrong_order_plots(chosen, judges, environment),
        differences=difference_matrix(chosen, members, environment),
        raw=_raw(shown, judges, environment),
        hardest=_hardest(view, judges, environment),
    )


def _raw(shown: Sequence[View], judges: Sequence[Member], environment: str) -> list[tuple[Member, Markup, str]]:
    """Return each scorer's macro F1 from raw scores (hollow) and from rescaled ones (filled)."""
    if len(shown) < 2:
        return []
    rows = []
    for member in judges:
        rescaled, raw = (view.row(member.name, environment) for view in shown)
        values = [number(row["mean_macro_f1"]) if row else None for row in (raw, rescaled)]
        if any(value is not None for value in values):
            text = " → ".join("–" if value is None else f"{value:.2f}" for value in values)  # noqa: RUF001
            dots = [Dot(values[0], is_hollow=True), Dot(values[1])]
            said = f"{member.name}: raw and rescaled {text}"
            rows.append((member, draw_track(said, dots, member.look.colour, member.look.symbol), text))
    return rows


def _hardest(view: View, judges: Sequence[Member], environment: str, most: int = 10) -> list[tuple[str, str]]:
    """Return the compared problem sets with the lowest mean F1 above chance."""
    chance = view.models.get("random", {}).get("problem_sets", {})
    found = []
    for id in chance:
        if id in view.left_out or environment not in ("all", view.place(id)[0]):
            continue
        own = [view.models[m.name]["problem_sets"].get(id) for m in judges]
        values = [number(entry["macro_f1"]) for entry in own if entry is not None]
        known = [value for value in values if value is not None]
        if known and len(known) == len(judges):
            found.append((sum(known) / len(known) - float(chance[id]["macro_f1"]), id))
    return [(id, f"{above:+.2f}") for above, id in sorted(found)[:most]]
