"""Writes a W&B report of runs of this package: a template as code.

    pip install wandb-workspaces
    python docs/figures/wandb_report.py ENTITY/PROJECT             # saves a draft and prints its address
    python docs/figures/wandb_report.py ENTITY/PROJECT --dry-run   # prints its blocks; needs no account

Offline runs have to be there first: `wandb sync runs/wandb/offline-run-*`. Panels without data stay empty: remove the
sections that your runs do not have.
"""

import argparse
from collections.abc import Iterator
from typing import Any


def sections(wr: Any, runs: Any) -> Iterator[Any]:
    """Yield the blocks of the report.

    Args:
        wr: The module `wandb_workspaces.reports.v2`.
        runs: The set of runs that all panels show.
    """
    yield wr.H1("Scorers: what they can judge")
    yield wr.P("Objects, actions and steps first, then the order of steps alone. Compare with chance, not with 0.")
    yield grid(
        wr,
        runs,
        wr.BarPlot(title="Mean macro F1", metrics=["test/macro_f1"]),
        wr.BarPlot(title="Share unscored", metrics=["test/unscored"]),
        wr.WeavePanelSummaryTable(table_name="test/order_verdicts"),
        wr.WeavePanelSummaryTable(table_name="test/aggregates"),
    )
    yield wr.H2("Videos, with what was said about each")
    yield grid(
        wr,
        runs,
        wr.WeavePanelSummaryTable(table_name="test/videos"),
        wr.MediaBrowser(title="Examples", media_keys=["test/examples"]),
    )
    yield wr.H1("Routing: which data trained which units")
    yield wr.P("Behind the mask a map is what the mask makes it. Look at the shares before it.")
    shares = wr.LinePlot(title="Shares before the mask", x="trainer/global_step", metric_regex="routing/.*/before")
    yield grid(
        wr,
        runs,
        shares,
        wr.WeavePanelSummaryTable(table_name="routing/shares"),
        wr.MediaBrowser(title="Heat maps, before and behind the mask", media_keys=["routing/network.layer4"]),
    )
    yield wr.H1("Unlearning: what is left, and how cheaply it comes back")
    losses = wr.LinePlot(title="Losses", x="trainer/global_step", metric_regex="(train|val)/loss.*")
    relearned = wr.LinePlot(title="Relearned", x="trainer/global_step", metric_regex="test/relearned/.*")
    yield grid(
        wr,
        runs,
        losses,
        relearned,
        wr.WeavePanelSummaryTable(table_name="test/relearning"),
        wr.WeavePanelSummaryTable(table_name="test/profiles_table"),
        wr.MediaBrowser(title="Capability profiles", media_keys=["test/profiles"]),
    )


def grid(wr: Any, runs: Any, *panels: Any) -> Any:
    """Return panels, two in a row."""
    for number, panel in enumerate(panels):
        panel.layout = wr.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8)
    return wr.PanelGrid(runsets=[runs], panels=list(panels))


def main() -> None:
    """Save the report, or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="the project of the runs")
    parser.add_argument("--title", default="Routing and judging", help="title of the report (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print the blocks instead of saving")
    options = parser.parse_args()
    import wandb_workspaces.reports.v2 as wr

    entity, _, project = options.project.partition("/")
    if not project:
        parser.error(f"`project`: expected ENTITY/PROJECT, got {options.project!r}. Add the entity.")
    runs = wr.Runset(entity=entity, project=project)
    blocks = list(sections(wr, runs))
    if options.dry_run:
        print(*blocks, sep="\n")
        return
    report = wr.Report(project=project, entity=entity, title=options.title, blocks=blocks, width="fluid")
    report.save(draft=True)
    print(report.url)


if __name__ == "__main__":
    main()
