"""The finding of a report in one sentence, with the sentences that support it, computed from the verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vista.reports.verdicts import ABOVE, ASPECTS, AT, BELOW, UNKNOWN
from lightning_vista.reports.view import Row, View, number

#: Scorers that a sentence about rewards names one by one; of more, it names the first and the last.
_NAMED = 4
_SEEN = {"objects": "what is there", "actions": "what is done", "steps": "which steps were done"}


@dataclass(frozen=True)
class Verdicts:
    """Outcome of the tests of one scorer in one environment.

    Attributes:
        of: Aspect -> its row over all levels.
        longest: Aspect -> its row at the longest level.
        slopes: Aspect -> its slope.
    """

    of: Mapping[str, Row]
    longest: Mapping[str, Row]
    slopes: Mapping[str, Row]

    def is_tested(self, aspect: str) -> bool:
        """Say whether there are problem sets of this aspect, and enough of them for a verdict."""
        return aspect in self.of and self.of[aspect]["verdict"] != UNKNOWN

    def is_above(self, aspect: str) -> bool:
        """Say whether the scorer is above chance over all levels."""
        return aspect in self.of and self.of[aspect]["verdict"] == ABOVE

    def falls(self, aspect: str = "order") -> bool:
        """Say whether the figure above chance falls with each further step, beyond its interval."""
        high = self.slopes.get(aspect, {}).get("ci_high")
        return high is not None and high < 0

    def is_lost(self, aspect: str = "order") -> bool:
        """Say whether the scorer is back at chance, or below it, at the longest level."""
        return aspect in self.longest and self.longest[aspect]["verdict"] in (AT, BELOW)


def read_verdicts(view: View, model: str, environment: str) -> Verdicts:
    """Collect the rows of one scorer in one environment.

    Args:
        view: Results under one rescaling.
        model: Name of the scorer.
        environment: Environment, or `all`.
    """
    rows = [row for row in view.chance_rows(model, "verdicts") if row["environment"] == environment]
    slopes = [row for row in view.chance_rows(model, "slopes") if row["environment"] == environment]
    levels: dict[str, Row] = {}
    for row in rows:
        if row["level"] != "all" and (row["aspect"] not in levels or row["level"] > levels[row["aspect"]]["level"]):
            levels[row["aspect"]] = row
    return Verdicts(
        {row["aspect"]: row for row in rows if row["level"] == "all"}, levels, {row["aspect"]: row for row in slopes}
    )


def title(found: Mapping[str, Verdicts]) -> str:
    """State the finding in one sentence.

    Args:
        found: Scorer -> its verdicts; baselines left out.

    Returns:
        The sentence, without a full stop.

    Example:
        >>> above, at = {"verdict": ABOVE}, {"verdict": AT}
        >>> title({"clip": Verdicts({"objects": above, "order": at}, {}, {})})
        'It sees what is there, but not the order of steps'
    """
    if not found:
        return "No scorer to judge"
    tested = [aspect for aspect in ASPECTS if any(one.is_tested(aspect) for one in found.values())]
    if not tested:
        return "There are too few problem sets for a verdict"
    everyone = list(found.values())
    subject, verb = ("It", "sees") if len(found) == 1 else ("They", "see")
    seen = [aspect for aspect in tested if aspect != "order" and all(one.is_above(aspect) for one in everyone)]
    unseen = [aspect for aspect in tested if aspect != "order" and not any(one.is_above(aspect) for one in everyone)]
    if not any(one.is_above(aspect) for one in everyone for aspect in tested):
        return (
            f"{'The scorer is' if len(found) == 1 else 'No scorer is'}{' not' if len(found) == 1 else ''} above chance"
        )
    # The steps follow from objects and actions, so they are named only where neither is.
    named = [aspect for aspect in seen if aspect != "steps"] or seen
    what = " and ".join(_SEEN[aspect] for aspect in named)
    said = (
        f"{subject} {verb} {what}" if what else ("It sees a part" if len(found) == 1 else "Some see more than others")
    )
    if unseen and what:
        said += f", not {' or '.join(_SEEN[aspect] for aspect in unseen)}"
    return said + _order_clause(everyone, bool(what)) if "order" in tested else said


def _order_clause(everyone: Sequence[Verdicts], is_contrast: bool) -> str:
    """Return what the title says of order."""
    able = [one for one in everyone if one.is_above("order")]
    failing = [one for one in able if one.falls() and one.is_lost()]
    if not able:
        return ", but not the order of steps" if is_contrast else "; none sees the order of steps"
    if failing and len(failing) == len(able):
        return "; order fails as tasks get longer"
    if any(one.falls() for one in able):
        return "; order gets harder as tasks get longer"
    if len(able) < len(everyone):
        return "; only some see the order of steps"
    return ", and the order of steps"


def sentences(found: Mapping[str, Verdicts]) -> list[list[tuple[str, bool]]]:
    """Return the sentences below the title, one for objects and one for each behaviour on order.

    Args:
        found: Scorer -> its verdicts; baselines left out.

    Returns:
        Sentences as pieces of text, each with whether it is a scorer's name.
    """
    said: list[list[tuple[str, bool]]] = []
    for aspect, words in (("objects", "tell objects apart"), ("actions", "tell actions apart")):
        able = [model for model, one in found.items() if one.is_above(aspect)]
        if any(one.is_tested(aspect) for one in found.values()) and (aspect == "objects" or len(able) < len(found)):
            said.append(_who(able, len(found), f" {words}.", f"No scorer can {words}."))
    groups: dict[str, list[str]] = {}
    for model, one in found.items():
        if text := _on_order(one):
            groups.setdefault(text, []).append(model)
    for text, models in groups.items():
        one_of, several = text.split("|")
        said.append([*_names(models), (f" {one_of if len(models) == 1 else several}.", False)])
    return [sentence for sentence in said if sentence]


def _on_order(one: Verdicts) -> str:
    """Describe a scorer on order, for one scorer and for several."""
    row = one.of.get("order")
    if row is None or row["verdict"] not in (ABOVE, AT, BELOW):
        return ""
    if row["verdict"] != ABOVE:
        where = f"{row['verdict']} where only the order of steps differs"
        return f"is {where}|are {where}"
    if one.is_lost():
        level = one.longest["order"]["level"]
        rest = (
            f"back at chance with {level} steps" if one.longest["order"]["verdict"] == AT else f"below it with {level}"
        )
        return f"sees order in short tasks and is {rest}|see order in short tasks and are {rest}"
    if one.falls():
        return "sees order, less so with each further step|see order, less so with each further step"
    return "sees order at every length|see order at every length"


def _who(able: Sequence[str], total: int, words: str, nobody: str) -> list[tuple[str, bool]]:
    """Return who is able to, as pieces of a sentence."""
    if not able:
        return [(nobody, False)]
    if len(able) == total and total > 1:
        return [(f"All {total} scorers{words}" if total > 2 else f"Both scorers{words}", False)]
    verb = words if len(able) > 1 else words.replace(" tell ", " tells ")
    return [*_names(able), (verb, False)]


def _names(models: Sequence[str], most: int = 4) -> list[tuple[str, bool]]:
    """Return names with commas and "and"; of many the first few and the number of the others."""
    if len(models) > most:
        shown = _names(models[: most - 1], most)
        joined = [piece for piece in shown if piece[0] != " and "]
        parts: list[tuple[str, bool]] = []
        for piece in (name for name in joined if name[1]):
            parts += [(", ", False), piece] if parts else [piece]
        return [*parts, (f" and {len(models) - most + 1} others", False)]
    pieces: list[tuple[str, bool]] = []
    for place, model in enumerate(models):
        if place:
            pieces.append((" and " if place == len(models) - 1 else ", ", False))
        pieces.append((model, True))
    return pieces


def reward_sentence(view: View, judges: Sequence[str], environment: str) -> list[tuple[str, bool]]:
    """Say what the finding means for rewards: how often a wrong order earns as much as the right one.

    Args:
        view: Results under one rescaling.
        judges: Scorers that are not baselines.
        environment: Environment, or `all`.

    Returns:
        The sentence in pieces, as in `sentences`; empty without permutation sets.
    """
    shares: list[tuple[str, float]] = []
    for model in judges:
        part: Mapping[str, Any] = view.compared(model)
        for row in part.get("reward_quality", ()):
            key = (row["figure"], row["environment"], row["kind"], row["level"])
            if key == ("exploitable", environment, "permutation", "all") and (share := number(row["mean"])) is not None:
                shares.append((model, share))
    if not shares:
        return []
    shares.sort(key=lambda pair: pair[1])
    named = shares if len(shares) <= _NAMED else [shares[0], shares[-1]]
    said = [("As a reward, ", False), (named[0][0], True)]
    said.append((f" pays a wrong order as much as the right one in {named[0][1]:.0%} of the permutation sets", False))
    for place, (model, share) in enumerate(named[1:], start=2):
        said += [(" and " if place == len(named) else ", ", False), (model, True), (f" in {share:.0%}", False)]
    return [*said, (".", False)]
