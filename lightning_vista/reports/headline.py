"""What the numbers say, in a sentence or two."""

from lightning_vista.reports.style import interval
from lightning_vista.reports.view import Row, View, number


def headline(view: View) -> list[str]:
    """The findings of a view as plain sentences, as far as there are numbers for them.

    Args:
        view: The results of every model under the chosen rescaling.

    Returns:
        One to three sentences: who judges best, what longer sequences and other orders do to it, what is unscored.

    Example:
        >>> row = {"environment": "all", "level": "all", "kind": "all", "mean_macro_f1": 0.5, "problem_sets": 9}
        >>> part = {"problem_sets": {}, "aggregates": [{**row, "ci_low": 0.4, "ci_high": 0.6}]}
        >>> headline(View("both", {"clip": part}))
        ['clip reaches a mean macro F1 of 0.50 (95% interval 0.40 to 0.60) over 9 problem sets.']
    """
    environment = view.environments[0] if view.environments else "all"
    rows = {model: row for model in view.models if (row := view.row(model, environment))}
    judges = [model for model in view.judges if model in rows]
    if not judges:
        return ["There are no judges to report on, only baselines."]
    best = max(judges, key=lambda model: number(rows[model]["mean_macro_f1"]) or 0.0)
    sentences = [
        _best(best, rows, len(judges)),
        _with_length(view, best, environment),
        _unscored(view, judges, environment),
    ]
    return [sentence for sentence in sentences if sentence]


def _best(best: str, rows: dict[str, Row], judges: int) -> str:
    row = rows[best]
    who = f"{best} reaches" if judges == 1 else f"Of {judges} judges, {best} does best: it reaches"
    baselines = [
        f"{_f1(rows[model])} {words}"
        for model, words in (("majority", "for the majority label"), ("random", "for a random one"))
        if model in rows
    ]
    against = f", against {' and '.join(baselines)}" if baselines else ""
    return (
        f"{who} a mean macro F1 of {_f1(row)} (95% interval {interval(row, '.2f')}) "
        f"over {row['problem_sets']} problem sets{against}."
    )


def _with_length(view: View, model: str, environment: str) -> str:
    """How F1 changes from the shortest to the longest sequences, and with the order alone."""
    found = [(level, row) for level in view.levels_of(environment) if (row := view.row(model, environment, level))]
    if len(found) < 2:
        return ""
    (first, start), (last, end) = found[0], found[-1]
    sentence = f"Its F1 goes from {_f1(start)} at level {first} to {_f1(end)} at level {last}"
    general = view.row(model, environment, kind="general")
    permutation = view.row(model, environment, kind="permutation")
    if general and permutation:
        sentence += (
            f"; where the actions differ it is {_f1(general)}, where only their order differs {_f1(permutation)}"
        )
    return f"{sentence}."


def _unscored(view: View, judges: list[str], environment: str) -> str:
    counts = sum((view.counts(model, environment) for model in judges[1:]), view.counts(judges[0], environment))
    return f"{counts.unscored:,} of {counts.videos:,} judgements are unscored." if counts.unscored else ""


def _f1(row: Row) -> str:
    value = number(row["mean_macro_f1"])
    return "unknown" if value is None else f"{value:.2f}"
