"""The list of problem sets: one entry each, with descriptions, film strip, scores and predictions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_vista.reports.joining import Prediction
from lightning_vista.reports.page.cast import Member
from lightning_vista.reports.page.strip_pictures import Picture, Strips
from lightning_vista.reports.view import View, number
from lightning_vista.vista.sequences import marked_steps

#: Pieces of a description, each with whether it is a step that differs.
Pieces = Sequence[tuple[str, bool]]
#: Versions of a problem set's descriptions: names of the scorers that were given one, and label -> description.
Versions = Sequence[tuple[str, Mapping[str, str]]]


@dataclass(frozen=True)
class SetEntry:
    """One problem set on the page.

    Attributes:
        id: Id of the problem set.
        environment: Environment.
        level: Number of steps.
        kind: Kind.
        split: `seen`, `held out`, or empty.
        is_common: Whether every scorer has scored it.
        videos: Number of videos.
        labels: For each label its id, and its description in pieces; empty pieces where the table lacks them.
        strip: Film strip of one video, if there is one.
        truth: Numbers of the labels that are true of this video, in words.
        rows: Scorer or a random answer, macro F1 in words, its counts in words, and its predictions in words.
    """

    id: str
    environment: str
    level: int
    kind: str
    split: str
    is_common: bool
    videos: int
    labels: Sequence[tuple[str, Pieces]]
    strip: Picture | None
    truth: str
    rows: Sequence[tuple[Member, str, str, str]]


def set_entries(
    view: View,
    members: Sequence[Member],
    predicted: Mapping[str, Mapping[str, Any]],
    descriptions: Mapping[str, Versions],
    held_out: Mapping[str, bool],
    strips: Strips,
) -> list[SetEntry]:
    """Build the entries, ordered by id; those that are not compared come last.

    Args:
        view: The chosen view.
        members: Models of the page.
        predicted: Result of `predictions`.
        descriptions: Problem set id -> its descriptions.
        held_out: Problem set id -> whether its combinations were held out of training.
        strips: Film strips.
    """
    entries = []
    found = {id for part in view.models.values() for id in part["problem_sets"]}
    for id in sorted(found, key=lambda id: (id in view.left_out, id)):
        environment, level, kind = view.place(id)
        known = predicted.get(id, NOTHING)
        video = strips.video_of(known["videos"])
        truth = as_list(known["truth"][known["videos"].index(video)]) if video else []
        entries.append(
            SetEntry(
                id,
                environment,
                int(level),
                kind,
                {True: "held out", False: "seen", None: ""}[held_out.get(id)],
                id not in view.left_out,
                len(known["videos"]) or max(e["videos"] for e in _results_of(view, id)),
                described(known["labels"], descriptions.get(id, ()), truth[0] if truth else 0),
                strips.small(video) if video else None,
                ", ".join(str(place + 1) for place in truth),
                list(_rows(view, members, id, known)),
            )
        )
    return entries


#: The predictions of a problem set that no table of the page holds.
NOTHING: Mapping[str, Any] = {"labels": [], "videos": [], "truth": [], "predicted": {}}


def described(labels: Sequence[str], versions: Versions, reference: int) -> list[tuple[str, Pieces]]:
    """Return the labels with their descriptions, whose steps are compared with those of one of them.

    Where versions differ, each stands behind the names of its scorers.
    """
    found: list[tuple[str, Pieces]] = []
    for label in labels:
        pieces: list[tuple[str, bool]] = []
        for names, texts in versions:
            if text := texts.get(label, ""):
                if len(versions) > 1:
                    pieces.append((f"{'; ' if pieces else ''}{names}: ", False))
                pieces += marked_steps(text, texts.get(labels[reference], ""))
        found.append((label, pieces))
    return found


def set_data(
    shown: Sequence[View],
    members: Sequence[Member],
    entries: Sequence[SetEntry],
    predicted: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return what the page's script needs of each entry.

    Args:
        shown: Views, the chosen one first.
        members: Models of the page.
        entries: Entries, whose order is kept.
        predicted: Result of `predictions`.

    Returns:
        `{videos, truth, results, predicted}`; `results` and `predicted` are lists by view and then by model, of
        `[macro F1, accuracy, videos, unscored, ties]`, and of predictions in the order of `videos`. A video in the
        folder of the set's own id has `./` in place of it.
    """
    return [
        {
            "videos": [
                video.replace(f"{entry.id}/", "./", 1) if video.startswith(f"{entry.id}/") else video
                for video in predicted.get(entry.id, NOTHING)["videos"]
            ],
            "truth": predicted.get(entry.id, NOTHING)["truth"],
            "results": [[_result(view, member.name, entry.id) for member in members] for view in shown],
            "predicted": [
                [
                    predicted.get(entry.id, NOTHING)["predicted"].get(view.rescaling, {}).get(member.name)
                    for member in members
                ]
                for view in shown
            ],
        }
        for entry in entries
    ]


def as_list(prediction: Prediction) -> list[int]:
    """Return a prediction as a list of positions of labels."""
    return prediction if isinstance(prediction, list) else [prediction]


def _results_of(view: View, id: str) -> Iterator[Mapping[str, Any]]:
    return (part["problem_sets"][id] for part in view.models.values() if id in part["problem_sets"])


def _result(view: View, model: str, id: str) -> list[float | int | None] | None:
    entry = view.models.get(model, {"problem_sets": {}})["problem_sets"].get(id)
    if entry is None:
        return None
    shares = [None if (value := number(entry[key])) is None else round(value, 3) for key in ("macro_f1", "accuracy")]
    return [*shares, entry["videos"], entry["unscored"], entry["ties"]]


def _rows(
    view: View, members: Sequence[Member], id: str, known: Mapping[str, Any]
) -> Iterator[tuple[Member, str, str, str]]:
    """Yield a row for each scorer that has scored the problem set, and one for a random answer."""
    for member in members:
        result = _result(view, member.name, id)
        if result is None or (member.is_baseline and member.name != "random"):
            continue
        f1, _, _, unscored, ties = result
        counts = [f"{count} {word}" for count, word in ((unscored, "unscored"), (ties, "ties")) if count]
        said = known["predicted"].get(view.rescaling, {}).get(member.name)
        words = " ".join(_said(guess, true) for guess, true in zip(said, known["truth"], strict=True)) if said else ""
        yield member, _two(f1), ", ".join(counts), words


def _said(guess: Prediction, truth: Prediction) -> str:
    """Return one prediction: the number of the label, and for a wrong one first that of the true label."""
    true, said = ("+".join(str(place + 1) for place in as_list(each)) for each in (truth, guess))
    return true if true == said else f"{true}→{said or '∅'}"


def _two(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.2f}"  # noqa: RUF001  no value
