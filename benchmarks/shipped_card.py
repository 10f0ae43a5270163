"""The tables of the model card, from run folders of scorers on the embedded dataset's test split.

Run it as `python benchmarks/shipped_card.py RUN...`; several runs of one name, such as other seeds, are averaged.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import torch
from torch import Tensor

from lightning_vista.metrics import random_baseline, score_problem_set
from lightning_vista.vista.tables import read_scores

_KINDS = {
    "objects": ("objects",),
    "properties": ("on_v_off", "open_v_closed"),
    "actions": ("pick_v_put", "toggle", "opening_v_closing"),
    "general": ("remix",),
    "permutation, mixed steps": ("permutation",),
    "permutation, trace-free": ("permutation_go_only",),
}
_DRAWS = 2000


@dataclass(frozen=True)
class Figure:
    """The result of a scorer on a problem set.

    Attributes:
        level: Number of steps.
        type: Type folder.
        held_out: Whether its combinations are absent from the training videos.
        macro_f1: Macro F1 without rescaling.
        random: Expected macro F1 of random predictions, from 1,000 draws.
    """

    level: int
    type: str
    held_out: bool
    macro_f1: float
    random: float


def read_figures(run: str) -> tuple[str, list[Figure]]:
    """Read the scorer of a run folder and its figures.

    Args:
        run: Run folder, or its score table.

    Returns:
        Name of the scorer, and one figure for each problem set of the embedded dataset's test split.
    """
    table = read_scores(run)
    figures = []
    for (id,), rows in table.rows.group_by("problem_set", maintain_order=True):
        labels = rows["label"].n_unique()
        scores = torch.tensor(rows["score"].fill_null(float("nan")).to_list(), dtype=torch.float64).reshape(-1, labels)
        targets = torch.tensor(rows["target"].to_list()).reshape(-1, labels)
        _, folder, *_, type, name = str(id).split("/")
        level = 1 if folder == "foundation" else int(folder.removeprefix("level_"))
        split, _, number = name.rpartition("_")
        held_out = split == "test" and int(number) % 3 == 2  # as `vista.mini.Slot.held_out`
        f1 = score_problem_set(scores, targets, "none").macro_f1
        figures.append(Figure(level, type, held_out, f1, random_baseline(targets, str(id)).macro_f1))
    return table.model, figures


def slope_with_level(figures: Sequence[Figure]) -> tuple[float, float, float]:
    """Fit the change of macro F1 per level by least squares, with a 95 % bootstrap interval over problem sets.

    Args:
        figures: Figures of at least two levels.

    Returns:
        The slope and the ends of its interval.

    Example:
        >>> slope_with_level([Figure(level, "remix", False, 1 - level / 10, 0.1) for level in (2, 3, 4)])[0]
        -0.1
    """
    levels = torch.tensor([figure.level for figure in figures], dtype=torch.float64)
    values = torch.tensor([figure.macro_f1 for figure in figures], dtype=torch.float64)
    drawn = torch.randint(len(values), (_DRAWS, len(values)), generator=torch.Generator().manual_seed(0))
    resampled = _slope(levels[drawn], values[drawn])
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return round(float(_slope(levels, values)), 6), low, high


def _slope(levels: Tensor, values: Tensor) -> Tensor:
    centred = levels - levels.mean(-1, keepdim=True)
    return (centred * values).sum(-1) / centred.square().sum(-1)


def table_of(runs: Sequence[str]) -> str:
    """Return the tables as Markdown.

    Args:
        runs: Run folders.

    Returns:
        Macro F1 by kind, separately for seen and held-out combinations, then by level with slopes.
    """
    scorers: dict[str, list[list[Figure]]] = {}
    for run in runs:
        name, figures = read_figures(run)
        scorers.setdefault(name, []).append(figures)
    names = list(scorers)
    rows = [["macro F1 (seen / held out)", *names, "random"]]
    for kind, types in _KINDS.items():
        rows.append([kind, *(_seen_and_held_out(scorers[name], types) for name in names)])
        rows[-1].append(_mean([[figure for figure in scorers[names[0]][0] if figure.type in types]], "random"))
    orders = [["seen combinations", *names, "random"]]
    for type in ("remix", "permutation", "permutation_go_only"):
        for level in range(2, 9):
            chosen = [[_at(run, type, level) for run in scorers[name]] for name in names]
            orders.append([f"{type}, level {level}", *map(_mean, chosen), _mean(chosen[0][:1], "random")])
        slopes = [slope_with_level([f for run in scorers[name] for f in _at(run, type)]) for name in names]
        orders.append([f"{type}, slope", *(f"{s:+.3f} ({low:+.3f} to {high:+.3f})" for s, low, high in slopes), ""])
    return _markdown(rows) + "\n\n" + _markdown(orders)


def _at(figures: Sequence[Figure], type: str, level: int | None = None) -> list[Figure]:
    """Return the figures of seen combinations of a type and, if given, a level."""
    return [f for f in figures if f.type == type and not f.held_out and level in (None, f.level)]


def _seen_and_held_out(runs: Sequence[Sequence[Figure]], types: Sequence[str]) -> str:
    def part(held_out: bool) -> str:
        return _mean([[f for f in run if f.type in types and f.held_out == held_out] for run in runs])

    return f"{part(False)} / {part(True)}"


def _mean(runs: Sequence[Sequence[Figure]], what: str = "macro_f1") -> str:
    """Return the mean over problem sets and runs, with the standard deviation over several runs."""
    means = [mean(getattr(figure, what) for figure in run) for run in runs if run]
    if not means:
        return "-"
    return f"{mean(means):.2f}" + (f" ± {stdev(means):.2f}" if len(means) > 1 else "")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    print(table_of(sys.argv[1:]))
