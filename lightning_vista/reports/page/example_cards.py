"""Cards of single videos: film strip, candidate descriptions, and what each scorer said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.set_entries import NOTHING, Pieces, Versions, as_list, described
from lightning_vista.reports.page.strip_pictures import Picture, Strips
from lightning_vista.reports.view import View
from lightning_vista.vista.tables import ScoreTable

_Scores = Mapping[tuple[str, str], Mapping[str, Mapping[str, float | None]]]


@dataclass(frozen=True)
class Said:
    """Answer of one scorer to a video.

    Attributes:
        member: The scorer.
        outcome: `right`, `wrong` or `unscored`.
        rank: Rank of the true description by raw score, as in "1 of 6"; empty where it is unknown.
        scores: For each description its raw score in words, and whether it was predicted.
    """

    member: Member
    outcome: str
    rank: str
    scores: Sequence[tuple[str, bool]]


@dataclass(frozen=True)
class Card:
    """One video in one problem set.

    Attributes:
        problem_set: Id of the problem set.
        level: Number of steps.
        kind: Kind.
        video: Path of the video.
        strip: Film strip, if there is one.
        labels: Label ids with their descriptions in pieces, and whether they are true.
        said: What each scorer said.
        heading: Why the card was chosen; empty for the others.
        file: Number of the video among those that the page holds; None if it holds only the strip.
        progress: SVG of progress; empty without any.
        value_orders: Correlation of progress with time, in words.
        transcripts: Numbers and runs of the transcripts about the video.
    """

    problem_set: str
    level: int
    kind: str
    video: str
    strip: Picture | None
    labels: Sequence[tuple[str, Pieces, bool]]
    said: Sequence[Said]
    heading: str = ""
    file: int | None = None
    progress: str = ""
    value_orders: str = ""
    transcripts: Sequence[tuple[int, str]] = field(default_factory=tuple)

    @property
    def outcomes(self) -> set[str]:
        """Outcomes of the scorers."""
        return {each.outcome for each in self.said}


def raw_scores(tables: Sequence[ScoreTable], wanted: set[tuple[str, str]]) -> _Scores:
    """Return the scores of some videos: (problem set, video) -> model -> label -> score.

    Args:
        tables: Score tables.
        wanted: Pairs of problem set and video.
    """
    videos = sorted({video for _, video in wanted})
    found: dict[tuple[str, str], dict[str, dict[str, float | None]]] = {pair: {} for pair in wanted}
    for table in tables:
        rows = table.rows.filter(table.rows["video"].is_in(videos))
        for problem_set, video, label, score in rows.select("problem_set", "video", "label", "score").iter_rows():
            if (problem_set, video) in found:
                found[problem_set, video].setdefault(table.model, {})[label] = score
    return found


def make_card(
    view: View,
    judges: Sequence[Member],
    predicted: Mapping[str, Mapping[str, Any]],
    versions: Versions,
    scores: Mapping[str, Mapping[str, float | None]],
    problem_set: str,
    video: str,
    **more: Any,
) -> Card:
    """Build a card.

    Args:
        view: The chosen view, whose predictions are framed.
        judges: Scorers to show; those without scores of the video are skipped.
        predicted: Result of `predictions`.
        versions: Descriptions of the problem set.
        scores: Model -> label -> raw score.
        problem_set: Id of the problem set.
        video: Path of the video.
        more: Further attributes of the card.
    """
    known = predicted.get(problem_set, NOTHING)
    index = known["videos"].index(video)
    truth = as_list(known["truth"][index])
    labels = known["labels"]
    said = []
    for member in judges:
        guesses = known["predicted"].get(view.rescaling, {}).get(member.name)
        if guesses is None or member.name not in scores:
            continue
        own = [scores[member.name].get(label) for label in labels]
        guess = as_list(guesses[index])
        outcome = "unscored" if not guess else "right" if guess == truth else "wrong"
        cells = [("–" if value is None else f"{value:.3f}", place in guess) for place, value in enumerate(own)]  # noqa: RUF001
        said.append(Said(member, outcome, _rank_of(own, truth), cells))
    _, level, kind = view.place(problem_set)
    pieces = described(labels, versions, truth[0] if truth else 0)
    listed = [(label, parts, place in truth) for place, (label, parts) in enumerate(pieces)]
    return Card(problem_set, int(level), kind, video, labels=listed, said=said, **more)


def chosen_first(cards: Sequence[Card]) -> list[Card]:
    """Return the cards with three telling ones first: all right, all wrong by order, scorers that disagree.

    Args:
        cards: Cards; those that no scorer has scored are left out.
    """
    left = [card for card in cards if card.said]
    several = len({each.member.name for card in left for each in card.said}) > 1
    wishes = [
        ("All scorers are right" if several else "Right", lambda card: card.outcomes == {"right"}),
        (
            "All scorers take the wrong order" if several else "The wrong order",
            lambda card: card.outcomes == {"wrong"} and card.kind == "permutation",
        ),
        ("The scorers disagree", lambda card: {"right", "wrong"} <= card.outcomes),
    ]
    first = []
    for heading, is_wished in wishes:
        # The card that most scorers have scored comes first, then the one with the most steps.
        found = sorted(filter(is_wished, left), key=lambda card: (-len(card.said), -card.level))
        if found:
            left = [card for card in left if card is not found[0]]
            first.append(replace(found[0], heading=heading))
    return first + left


def task_to_watch(
    view: View, predicted: Mapping[str, Mapping[str, Any]], judges: Sequence[Member], strips: Strips
) -> tuple[str, str] | None:
    """Choose the task that shows best what order means: a short one with a strip, on which the scorers disagree.

    Args:
        view: The chosen view.
        predicted: Result of `predictions`.
        judges: Scorers.
        strips: Film strips.

    Returns:
        Problem set and video; None without permutation sets that have a strip.
    """
    choices = []
    for id, known in predicted.items():
        _, level, kind = view.place(id)
        video = strips.video_of(known["videos"])
        if kind != "permutation" or id in view.left_out or video is None:
            continue
        index = known["videos"].index(video)
        own = known["predicted"].get(view.rescaling, {})
        right = [own[m.name][index] == known["truth"][index] for m in judges if m.name in own]
        if right:
            agree = len(set(right)) == 1
            choices.append((abs(int(level) - 3), "go_only" not in id, agree, id, video))
    return min(choices)[3:] if choices else None


def _rank_of(scores: Sequence[float | None], truth: Sequence[int]) -> str:
    """Return the rank of the best true description among all; ties share the better rank."""
    if not truth or any(score is None for score in scores):
        return ""
    values = [float(score) for score in scores if score is not None]
    best = max(values[place] for place in truth)
    return f"{1 + sum(value > best for value in values)} of {len(values)}"
