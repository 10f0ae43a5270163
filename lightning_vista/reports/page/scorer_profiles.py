"""Capability profiles: the same scorer with all of its modules, and without some of them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_vista.evaluation.provenance import Provenance, read_provenance
from lightning_vista.reports.coverage import partial_notes
from lightning_vista.reports.order_controls import order_verdicts
from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.verdict_table import VerdictTable, aspect_rows, verdict_table
from lightning_vista.reports.verdicts import ABOVE, ASPECTS
from lightning_vista.reports.view import Row, View, views

#: Argument of a scorer that names the modules to cut off.
_WITHOUT = "without"


@dataclass(frozen=True)
class ScorerProfiles:
    """The runs of one scorer.

    Attributes:
        whole: Name of the scorer with all modules.
        cut: Name of each run without some modules -> the names of these modules.
    """

    whole: str
    cut: Mapping[str, str]


@dataclass(frozen=True)
class ProfileTable:
    """The figures of a scorer and its profiles in one environment and rescaling.

    Attributes:
        table: Verdicts against chance.
        findings: Sentences about what each cut takes and leaves, and the verdicts on the order of frames.
    """

    table: VerdictTable
    findings: Sequence[str]


def scorer_profiles(models: Sequence[str], runs: Sequence[Path]) -> list[ScorerProfiles]:
    """Find the scorers that were run with all of their modules and without some.

    Runs belong together if they have the same class, frames, precision and, but for `without` and `name`, the same
    arguments. Files of weights are told apart by their content, folders by their names.

    Args:
        models: Names of the scorers.
        runs: Run folders, whose `run.json` is read where there is one.

    Raises:
        ValueError: If a `run.json` is damaged.
    """
    groups: dict[tuple[object, ...], dict[str, str]] = defaultdict(dict)
    for run in filter(None, map(read_provenance, runs)):
        if run.model in models:
            groups[_scorer_of(run)][run.model] = _without(run)
    found = []
    for group in groups.values():
        cut = {model: modules for model, modules in group.items() if modules}
        found += [ScorerProfiles(model, cut) for model, modules in group.items() if cut and not modules]
    return found


def profile_tables(
    results: Mapping[str, Mapping[str, Any]],
    kinds: Mapping[str, str],
    members: Sequence[Member],
    found: Sequence[ScorerProfiles],
    places: Iterable[tuple[str, str]],
) -> dict[tuple[str, str], list[ProfileTable]]:
    """Return the verdicts on scorers and their profiles.

    Args:
        results: Content of `results.json`, the cut scorers among them.
        kinds: Problem set id -> kind, see `View`.
        members: Models of the page, the whole scorers among them. Profiles share their looks and their switches.
        found: Result of `scorer_profiles`.
        places: Rescaling and environment of each table.

    Returns:
        Place -> one table for each of `found`.
    """
    if not found:
        return {}
    by_rescaling: dict[str, View] = {view.rescaling: view for view in views(results, kinds)}
    return {
        (rescaling, environment): [
            _table(results, by_rescaling[rescaling], members, each, environment) for each in found
        ]
        for rescaling, environment in places
    }


def _table(
    results: Mapping[str, Mapping[str, Any]],
    view: View,
    members: Sequence[Member],
    profiles: ScorerProfiles,
    environment: str,
) -> ProfileTable:
    """Return the verdicts on one scorer and its profiles."""
    whole = next(member for member in members if member.name == profiles.whole)
    before = aspect_rows(view, whole.name, environment)
    findings = [
        f"Without {modules}: {_finding(before, aspect_rows(view, model, environment))}"
        for model, modules in profiles.cut.items()
    ]
    partial = partial_notes(results)
    shown = [whole, *(replace(whole, name=model, part=partial.get(model, "")) for model in profiles.cut)]
    verdicts = order_verdicts({member.name: results[member.name] for member in shown})
    if verdicts:
        said = "; ".join(f"{model}: {verdict}" for model, verdict in verdicts.items())
        findings.append(f"With frames in another order: {said}.")
    return ProfileTable(verdict_table(view, shown, environment), findings)


def _finding(whole: dict[str, Row], cut: dict[str, Row]) -> str:
    """Say which aspects are no longer above chance and which still are, with figures before and after the cut."""
    able = [aspect for aspect in ASPECTS if aspect in cut and whole.get(aspect, {}).get("verdict") == ABOVE]
    if not able:
        return "the whole scorer is above chance nowhere here, so the cut has nothing to take."
    lost, kept = ([a for a in able if (cut[a]["verdict"] == ABOVE) == is_kept] for is_kept in (False, True))
    parts = [
        f"{words}: {', '.join(_change(ASPECTS[aspect], whole[aspect], cut[aspect]) for aspect in aspects)}"
        for words, aspects in (("no longer above chance", lost), ("still above chance", kept))
        if aspects
    ]
    return "; ".join(parts) + "."


def _change(title: str, whole: Row, cut: Row) -> str:
    name = title[0].lower() + title[1:]
    return f"{name} {whole['mean_macro_f1']:.2f} → {cut['mean_macro_f1']:.2f} (chance {cut['chance']:.2f})"


def _scorer_of(run: Provenance) -> tuple[object, ...]:
    shared = {key: value for key, value in run.arguments.items() if key not in (_WITHOUT, "name")}
    return run.class_path, run.precision, str(sorted(run.frames.items())), *sorted(shared.items())


def _without(run: Provenance) -> str:
    """Return the names of the modules that were cut off; empty for the whole scorer."""
    return ", ".join(re.findall(r"[\w.-]+", run.arguments.get(_WITHOUT, "")))
