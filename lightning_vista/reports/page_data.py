"""What the page's own script reads: plots, problem sets with predictions, examples; lists instead of names as keys."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_vista.reports.examples import Showcase
from lightning_vista.reports.predictions import predictions
from lightning_vista.reports.style import styles
from lightning_vista.reports.view import View, number
from lightning_vista.vista.tables import ScoreTable


def page_data(
    shown: Sequence[View], plots: Mapping[str, Any], tables: Sequence[ScoreTable], showcase: Showcase
) -> dict[str, Any]:
    """Everything the script needs, ready for JSON; what belongs to models is listed in the order of `models`.

    Args:
        shown: The chosen view first.
        plots: Key -> plotly specification.
        tables: The score tables.
        showcase: The example videos and transcripts.

    Returns:
        `{models, looks, judges, rescalings, plots, sets, examples, videos}`.
    """
    models = list(shown[0].models)
    return {
        "models": models,
        "looks": [{"glyph": look.glyph, "colour": look.colour} for look in styles(models).values()],
        "judges": len(shown[0].judges),
        "rescalings": [view.rescaling for view in shown],
        "plots": plots,
        "sets": list(_problem_sets(shown, tables, showcase)),
        "examples": [_example(example, models, showcase) for example in showcase.examples],
        "videos": list(showcase.videos.values()),
    }


def _example(example: Mapping[str, Any], models: Sequence[str], showcase: Showcase) -> dict[str, Any]:
    """One card: a video, its candidate descriptions and the scores that each model gave them."""
    labels = list(example["descriptions"])
    key = Path(example["file"]).stem
    return {
        "video": example["video"],
        "set": example["problem_set"],
        "file": list(showcase.videos).index(example["video"]),
        "labels": labels,
        "descriptions": list(example["descriptions"].values()),
        "scores": [[example["scores"].get(model, {}).get(label) for label in labels] for model in models],
        "transcripts": [
            {"place": place, "run": transcript.run}
            for place, transcript in enumerate(showcase.transcripts)
            if transcript.key == key
        ],
    }


def _problem_sets(shown: Sequence[View], tables: Sequence[ScoreTable], showcase: Showcase) -> Iterator[dict[str, Any]]:
    """Every problem set with its results and predictions under each rescaling, model by model."""
    predicted = predictions(tables, [view.rescaling for view in shown])
    descriptions = {example["problem_set"]: example["descriptions"] for example in showcase.examples}
    for name in sorted({name for part in shown[0].models.values() for name in part["problem_sets"]}):
        environment, level, kind = shown[0].place(name)
        known = predicted.get(name, {"labels": [], "videos": [], "truth": [], "predicted": {}})
        yield {
            "id": name,
            "environment": environment,
            "level": int(level),
            "kind": kind,
            "labels": known["labels"],
            "descriptions": [descriptions.get(name, {}).get(label) for label in known["labels"]],
            "videos": known["videos"],
            "truth": known["truth"],
            "results": [[_entry(view, model, name) for model in shown[0].models] for view in shown],
            "predicted": [
                [known["predicted"].get(view.rescaling, {}).get(model) for model in shown[0].models] for view in shown
            ],
        }


def _entry(view: View, model: str, problem_set: str) -> list[float | int | None] | None:
    """Macro F1, accuracy, videos, unscored and ties of a model on a problem set, if it has seen it."""
    entry = view.models.get(model, {"problem_sets": {}})["problem_sets"].get(problem_set)
    if entry is None:
        return None
    shares = [
        None if value is None else round(value, 4) for value in map(number, (entry["macro_f1"], entry["accuracy"]))
    ]
    return [*shares, entry["videos"], entry["unscored"], entry["ties"]]
