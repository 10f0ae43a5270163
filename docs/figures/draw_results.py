"""Draws the figures of docs/results from the CSV files beside the pages: `make figures`.

Dots are seeds, ticks and lines their means. Where only a printed mean and its 95 % interval are left, the band is that
interval, cut at what is possible.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sheets import panel, sheet

from lightning_vista.drawing.charts import Chart, Point

RESULTS = Path(__file__).parents[1] / "results"
OUT = RESULTS
SHARE = (0.0, 1.0)
_COEFFICIENTS = ("0", "0.1", "0.25", "0.5", "1", "2")
Row = Mapping[str, str]


def read(name: str) -> list[Row]:
    """Read a CSV file of docs/results."""
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def printed(rows: Iterable[Row], table: int, row: str, column: str, place: float | str | None = None) -> Point:
    """Return a printed cell: the values of its seeds, or its mean and interval."""
    found = [one for one in rows if (int(one["table"]), one["row"], one["column"]) == (table, row, column)]
    if not found:
        raise ValueError(f"`{row}`, `{column}`: expected a cell of table {table}, got none. Check the page's table.")
    ends = (float(found[0]["ci_low"]), float(found[0]["ci_high"])) if found[0]["ci_low"] else None
    return Point(row if place is None else place, tuple(float(one["value"]) for one in found), ends)


def partition(name: str, group: str) -> None:
    """Draw the ratios and errors of a split autoencoder."""
    rows = read(name)
    runs = list(dict.fromkeys(row["row"] for row in rows))
    ratios = {
        f"on images of {part}": [printed(rows, 1, run, f"ratio, {part}") for run in runs] for part in ("0-4", "5-9")
    }
    errors = {
        f"on images of {part}": [printed(rows, 1, run, f"decoder, {part}") for run in runs] for part in ("0-4", "5-9")
    }
    floor = (0.0, float("inf"))
    same = {"same information": 1.0}
    charts = [
        Chart(
            f"Wrong over right certificate, {group}", ratios, "", "Ratio of errors", True, references=same, bounds=floor
        ),
        Chart("The price: error of the decoder", errors, "", "Mean absolute error", True, bounds=floor),
    ]
    sheet([panel(chart) for chart in charts], OUT / f"{name}.png")


def classifier() -> None:
    """Draw the accuracies without each half."""
    rows = read("partition_classifier")
    charts = []
    for half, other in (("0-4", "5-9"), ("5-9", "0-4")):
        lines = ["full network", f"without the half of {half}", f"linear probe of the half of {other}"]
        series = {
            run: [printed(rows, 1, line, f"{run}, on {half}") for line in lines] for run in ("routed", "unrouted")
        }
        title = f"Images of {half}"
        charts.append(Chart(title, series, "", "Accuracy", True, references={"chance": 0.1}, bounds=SHARE))
    sheet([panel(chart) for chart in charts], OUT / "partition_classifier.png")


def steering() -> None:
    """Draw the words that steering adds, and perplexity, against the coefficient."""
    measures = {
        "Share of \u201cwhale\u201d": ("target", "Share of tokens"),
        "Share of other words of the sea": ("related", "Share of tokens"),
        "Perplexity": ("perplexity", "Perplexity under the unsteered model"),
    }
    charts = []
    for title, (metric, y_title) in measures.items():
        series = {}
        for run in ("routed", "unrouted"):
            found = {at: _seeds("steering_scalar", run, f"test/steering/{at}/{metric}") for at in _COEFFICIENTS}
            series[run] = [Point(float(at), tuple(values.values())) for at, values in found.items()]
        charts.append(Chart(title, series, "Steering coefficient", y_title, lines=True, log_y=metric == "perplexity"))
    sheet([panel(chart) for chart in charts], OUT / "steering_scalar.png")


def oversight() -> None:
    """Draw the true return against the oversight probability."""
    rows = read("oversight_levels")
    table = max(int(row["table"]) for row in rows if row["column"] == "p = 0.005")
    names = list(dict.fromkeys(row["row"] for row in rows if int(row["table"]) == table))
    levels = (0.005, 0.01, 0.03, 0.1)
    series = {name: [printed(rows, table, name, f"p = {level}", level) for level in levels] for name in names}
    charts = []
    for title, chosen in {
        "Routing and its controls": [name for name in names if "routing" in name],
        "Routing and other methods": ["routing", *(name for name in names if "routing" not in name)],
    }.items():
        own = {name: series[name] for name in chosen}
        options = {"lines": True, "log_x": True, "reach": (-0.1, 1.02), "bounds": (-1.0, 1.0)}
        straight = {"straight to the diamond": 0.797}
        chart = Chart(title, own, "Oversight probability", "True return", references=straight, **options)
        charts.append(chart)
    sheet([panel(chart) for chart in charts], OUT / "oversight_levels.png")


def judge() -> None:
    """Draw the behaviour of agents, and what scripted robots would be paid."""
    rows = read("judge_as_reward")
    charts = []
    for level in (2, 3):
        series: dict[str, list[Point]] = {"right order": [], "wrong order": []}
        for number, name in enumerate(series):
            for scorer in ("true reward", "mean", "temporal", "slot"):
                cells = [
                    row
                    for row in rows
                    if row["row"] == f"level {level}, {scorer}" and (row["table"], row["seed"]) == ("2", str(number))
                ]
                if scorer == "true reward":  # the page has its mean alone
                    point = printed(rows, 1, f"level {level}, {scorer}", name, scorer)
                    series[name].append(Point(scorer, point.values))
                else:
                    series[name].append(Point(scorer, tuple(float(cell["value"]) for cell in cells)))
        title = f"{level} steps: share of episodes, by the reward, in five homes"
        charts.append(Chart(title, series, "", "Share of episodes", True, reach=(-0.02, 1.02), bounds=SHARE))
    columns = ("right order", "wrong orders", "first step only", "last step only", "no step")
    scorers = ("mean", "temporal", "slot")
    for level in (2, 3):
        rewards = {
            column: [printed(rows, 3, f"level {level}, {scorer}", column, scorer) for scorer in scorers]
            for column in columns
        }
        charts.append(Chart(f"{level} steps: reward of scripted robots", rewards, "", "Reward", True))
    sheet([panel(chart) for chart in charts], OUT / "judge_as_reward.png")


def partial_labels() -> None:
    """Draw forget and retain losses against the share of labels."""
    rows = read("unlearning_partial_labels")
    shares = {"10 %": 10, "30 %": 30, "50 %": 50, "100 %": 100}
    charts = []
    for title, columns in {
        "Forget loss: higher is better": {"filtering": "forget loss, filtering", "ERA, branch": "ERA, branch"},
        "Retain loss: lower is better": {"filtering": "retain loss, filtering", "ERA, branch": "ERA, branch"},
    }.items():
        series = {}
        for name, column in columns.items():
            points = []
            for row, share in shares.items():
                # Two columns have the same head: the first is the forget loss, the second the retain loss.
                cells = [one for one in rows if (one["row"], one["column"]) == (row, column)]
                cell = cells[-1 if title.startswith("Retain") else 0]
                ends = (float(cell["ci_low"]), float(cell["ci_high"])) if cell["ci_low"] else None
                points.append(Point(float(share), (float(cell["value"]),), ends))
            series[name] = points
        charts.append(Chart(title, series, "Labelled forest stories, %", "Loss, nats per token", lines=True))
    sheet([panel(chart) for chart in charts], OUT / "unlearning_partial_labels.png")


def stories() -> None:
    """Draw forget losses after unlearning and after relearning, beside the retain losses."""
    rows = read("unlearning_stories")
    names = ("base", "pure", "DEMix", "RMU", "ERA, paper", "ERA, branch")
    columns = {"after unlearning": "forget, after", "relearned from 4 stories": "relearned from 4",
               "relearned from 64": "from 64"}  # fmt: skip
    forget = {title: [printed(rows, 2, name, column) for name in names] for title, column in columns.items()}
    retain = {"retain": [printed(rows, 2, name, "retain, after") for name in names]}
    loss = "Loss, nats per token"
    charts = [
        Chart("Forget loss: higher is better", forget, "", loss, True),
        Chart("Retain loss after unlearning: lower is better", retain, "", loss, True),
    ]
    sheet([panel(chart) for chart in charts], OUT / "unlearning_stories.png")


def pretrained() -> None:
    """Draw what routing gains over filtering by the same labels, by seed, and what it costs."""
    rows = [row for row in read("absorption_pretrained") if row["protocol"] in ("first", "second")]
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        key = (row["protocol"], row["run"], row["metric"])
        values.setdefault(key, {})[row["seed"]] = float(row["value"])
    pairs = {
        "half, straight after the cut": ("first", "routing, forget 0.5", "filtering, forget 0.5"),
        "half": ("second", "routing, forget 0.5", "filtering, forget 0.5"),
        "a quarter": ("second", "routing, labels 0.25", "filtering, labels 0.25"),
        "a tenth": ("second", "routing, labels 0.1", "filtering, labels 0.1"),
        "all": ("second", "routing, labels 1.0", "filtering, labels 1.0"),
    }
    charts = []
    for kind, aim in (("forget", "higher is better"), ("retain", "lower is better, at most .02 allowed")):
        points = []
        for name, (protocol, run, baseline) in pairs.items():
            own, other = (values[protocol, which, f"test/loss/{kind}"] for which in (run, baseline))
            points.append(Point(name, tuple(own[seed] - other[seed] for seed in own if seed in other)))
        title = f"{kind.capitalize()} loss above filtering: {aim}"
        references = {"filtering": 0.0} | ({"allowed": 0.02} if kind == "retain" else {})
        x_title = "Difference, nats per token; rows: share of forget texts that are labelled"
        charts.append(Chart(title, {"routing": points}, "", x_title, True, references=references))
    sheet([panel(chart) for chart in charts], OUT / "absorption_pretrained.png")


def _seeds(name: str, run: str, metric: str) -> dict[str, float]:
    """Return the values of a run by seed, from a study's `seeds.csv`."""
    values = {row["seed"]: float(row["value"]) for row in read(name) if (row["run"], row["metric"]) == (run, metric)}
    if not values:
        raise ValueError(f"{name}.csv: expected values of `{metric}` for `{run}`, got none.")
    return values


def _above(name: str, run: str, baseline: str, metric: str, place: float | str) -> Point:
    """Return the differences of two runs, by seed."""
    own, other = (_seeds(name, which, metric) for which in (run, baseline))
    return Point(place, tuple(own[seed] - other[seed] for seed in own if seed in other))


def robustness() -> None:
    """Draw forget losses while relearning, and what methods differ from filtering in."""
    name, counts = "unlearning_robustness", (0, 4, 16, 64)
    runs = list(dict.fromkeys(row["run"] for row in read(name)))
    curves = {
        run: [Point(count, tuple(_seeds(name, run, f"test/relearned/{count}/forget").values())) for count in counts]
        for run in runs
    }
    title = "Forget loss, relearned from so many stories"
    charts = [Chart(title, curves, "Forest stories to relearn from", "Nats per token", lines=True)]
    others = {
        "equal steps": (name, [run for run in runs if run not in ("base", "pure")]),
        "equal steps on the rest": ("unlearning_retain_steps", ["branch, rest held still", "SGTM, rest held still"]),
    }
    for metric, title, allowed in (
        (
            "test/relearned/64/forget",
            "Relearned from 64, above filtering: higher is more robust",
            {"-.05": -0.05, ".05": 0.05},
        ),
        ("test/loss/retain", "Retain loss above filtering: lower is better", {"allowed": 0.02}),
    ):
        points = {
            label: [_above(table, run, "pure", metric, run) for run in compared]
            for label, (table, compared) in others.items()
        }
        references = {"filtering": 0.0, **allowed}
        charts.append(Chart(title, points, "", "Nats per token", True, references=references))
    sheet([panel(chart) for chart in charts], OUT / f"{name}.png")


def cipher() -> None:
    """Draw what routing gains over filtering by the same labels, and what it costs."""
    name, share = "absorption_cipher", "cipher_share 0.25, forget 0.8"
    charts = []
    for title, metrics, references in (
        (
            "Loss on the cipher above filtering: higher is better",
            {"after the cut": "test/loss/forget", "relearned from 16 stories": "test/relearned/16/forget",
             "relearned from 64": "test/relearned/64/forget"},
            {},
        ),
        ("Loss on English above filtering: lower is better", {"after the cut": "test/loss/retain"}, {"allowed": 0.02}),
    ):  # fmt: skip
        points = [
            _above(name, f"routing, {share}", f"filtering, {share}", metric, place) for place, metric in metrics.items()
        ]
        references = {"filtering": 0.0, **references}
        charts.append(Chart(title, {"routing": points}, "", "Nats per token", True, references=references))
    sheet([panel(chart) for chart in charts], OUT / f"{name}.png")


def regions() -> None:
    """Draw the scorers with and without their module for order, by kind of problem set."""
    rows = [row for row in read("scorer_regions") if row["level"] == "all"]
    charts = []
    for arm in ("routed", "unrouted", "filtered"):
        series: dict[str, list[Point]] = {"whole": [], "cut": [], "chance": []}
        for row in rows:
            if row["run"] == f"order, {arm}" and row["state"] in series:
                seeds = tuple(float(one.partition(":")[2]) for one in row["seeds"].split())
                series[row["state"]].append(Point(row["kind"], seeds))
                if row["state"] == "whole":
                    series["chance"].append(Point(row["kind"], (float(row["chance"]),)))
        charts.append(Chart(f"Order, {arm}", series, "", "Macro F1", True, reach=SHARE, bounds=SHARE))
    sheet([panel(chart) for chart in charts], OUT / "scorer_regions.png")


def poison() -> None:
    """Draw healed and clean accuracy against the share that is discovered, seeds 5 to 9."""
    rows = [row for row in read("poison_discovery") if (row["study"], row["look"]) == ("poison_discovery", "second")]
    names = ("dropped", "fine-tuned", "taught detector", "surprise detector", "unrouted mixture", "routed, mixture",
             "routed, mixture, fine-tuned")  # fmt: skip
    shares = sorted({float(row["discovered"]) for row in rows})
    charts = []
    for column, title in (("healed", "Accuracy on triggered images"), ("clean", "Accuracy on clean images")):
        series = {}
        for name in names:
            own = {share: [row for row in rows if row["run"] == name and float(row["discovered"]) == share]
                   for share in shares}  # fmt: skip
            points = [
                Point(100 * share, tuple(float(row[column]) for row in found)) for share, found in own.items() if found
            ]
            series[name] = points
        reach = (0.0, 1.0) if column == "healed" else (0.85, 1.0)
        charts.append(
            Chart(title, series, "Discovered poison, %", "Accuracy", lines=True, log_x=True, reach=reach, bounds=SHARE)
        )
    sheet([panel(chart) for chart in charts], OUT / "poison_discovery.png")


def latents() -> None:
    """Draw accuracies, and the error that they cost."""
    rows = read("interpretable_latents")
    runs = list(dict.fromkeys(row["run"] for row in rows))

    def point(run: str, metric: str) -> Point:
        (row,) = (one for one in rows if (one["run"], one["metric"]) == (run, metric))
        return Point(run, (float(row["mean"]),), (float(row["ci_low"]), float(row["ci_high"])))

    accuracies = {
        "accuracy": "test/accuracy",
        "best match": "test/matched_accuracy",
        "drawn": "test/traversal_accuracy",
    }
    series = {name: [point(run, metric) for run in runs] for name, metric in accuracies.items()}
    chance = {"chance": 0.1}
    charts = [
        Chart("Latents that name and draw digits", series, "", "Accuracy", True, references=chance, bounds=SHARE),
        Chart("The price", {"error": [point(run, "test/error") for run in runs]}, "", "Squared error per pixel", True,
              bounds=(0, 4)),
    ]  # fmt: skip
    sheet([panel(chart) for chart in charts], OUT / "interpretable_latents.png")


FIGURES: tuple[Callable[[], None], ...] = (
    lambda: partition("partition_digits", "digits"),
    lambda: partition("partition_fashion", "clothes"),
    classifier, steering, oversight, judge, partial_labels, stories, robustness, pretrained, cipher, poison, latents,
    regions,
)  # fmt: skip

if __name__ == "__main__":
    for figure in FIGURES:
        figure()
