"""The main findings of a report in a few sentences."""

from lightning_vista.reports.style import interval
from lightning_vista.reports.view import Counts, Row, View, number


def headline(view: View) -> list[str]:
    """Return the findings of a view as plain sentences.

    Args:
        view: Results of every model under the chosen rescaling.

    Returns:
        One to three sentences: the best scorer, the effect of longer sequences and other orders on it, and the
        unscored videos. A sentence without numbers is omitted.

    Example:
        >>> row = {"environment": "all", "level": "all", "kind": "all", "mean_macro_f1": 0.5, "problem_sets": 9}
        >>> part = {"problem_sets": {}, "aggregates": [{**row, "ci_low": 0.4, "ci_high": 0.6}]}
        >>> headline(View("both", {"clip": part}))
        ['clip reaches a mean macro F1 of 0.50 (95% interval 0.40 to 0.60) over 9 problem sets.']
    """
    environment = view.environments[0] if view.environments else "all"
    rows = {model: row for model in view.models if (row := view.row(model, environment))}
    scorers = [model for model in view.scorers if model in rows]
    if not scorers:
        if view.scorers:
            return ["These scorers have no problem set in common, so this report does not compare them."]
        return ["This report holds only baselines, without a scorer."]
    best = max(scorers, key=lambda model: number(rows[model]["mean_macro_f1"]) or 0.0)
    sentences = [
        _best(best, rows, len(scorers)),
        _with_length(view, best, environment),
        _unscored(view),
    ]
    return [sentence for sentence in sentences if sentence]


def _best(best: str, rows: dict[str, Row], scorers: int) -> str:
    row = rows[best]
    who = f"{best} reaches" if scorers == 1 else f"Of {scorers} scorers, {best} does best: it reaches"
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
    """Describe the change of F1 from the shortest to the longest sequences, and with the order alone."""
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


def _unscored(view: View) -> str:
    counts = sum(view.totals.values(), Counts())
    pairs = f"{counts.unscored:,} of {counts.videos:,} (video, problem set) pairs"
    return f"{pairs} are unscored." if counts.unscored else ""


def _f1(row: Row) -> str:
    value = number(row["mean_macro_f1"])
    return "unknown" if value is None else f"{value:.2f}"
