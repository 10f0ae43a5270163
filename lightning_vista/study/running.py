"""Running a study: its runs, then its table, figures and page."""

from collections.abc import Sequence
from pathlib import Path

from lightning_vista.optional import require
from lightning_vista.processes.progress import progress_bar
from lightning_vista.study.jobs import RunOne, do_runs
from lightning_vista.study.runs import Run, expand_study
from lightning_vista.study.spec import Study, StudyError
from lightning_vista.study.study_page import write_study


def run_study(
    study: Study,
    out_dir: str | Path,
    run_one: RunOne,
    jobs: int = 1,
    smoke: bool = False,
    full: bool = False,
    allow_missing: bool = False,
    command: Sequence[str] = (),
) -> Path:
    """Do the remaining runs of a study, and write its table, figures and page.

    Finished runs are not repeated, as long as their configuration and the code are unchanged. A failed run leaves its
    log and does not stop the others.

    Args:
        study: The study.
        out_dir: The folder to write.
        run_one: Function that runs one command of `lightning-vista` and returns the logged metrics, see `do_runs`.
        jobs: Number of runs at once, which share the cores.
        smoke: Whether to make a quick trial, see `expand_study`.
        full: Whether to include the variants marked `full`.
        allow_missing: Whether to skip runs that need a missing file, address, key or package.
        command: Arguments of `lightning-vista` that begin this study, for the page.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: If a config is missing.
        StudyError: If an override does not fit; or, once everything else is done and written, if runs failed, or were
            skipped without `allow_missing`.
        ModuleNotFoundError: If a package for the page is missing, before the first run; the message names the extra.
        ValueError: If `jobs` is not at least 1.
    """
    if jobs < 1:
        raise ValueError(f"`jobs`: expected at least 1 process, got {jobs}.")
    for package in ("matplotlib", "jinja2"):
        require(package, "vista")  # better to fail now than after the runs
    runs = expand_study(study, out_dir, smoke, full)
    left = [run for run in runs if run.result() is None]
    failed: list[Run] = []
    missing: list[Run] = []
    with progress_bar(study.title, len(runs)) as advance:
        advance(len(runs) - len(left))
        for run, outcome in do_runs(left, run_one, jobs):
            print(f"{outcome if outcome == 'finished' else outcome.upper()}: {run.name}", flush=True)
            if outcome != "finished":
                (missing if outcome == "missing" and allow_missing else failed).append(run)
            advance(1)
    page = write_study(study, runs, out_dir, smoke, command)
    if missing:
        print(f"Skipped, since they need something that is missing:\n{_logs(missing)}")
    if failed:
        raise StudyError(
            f"{len(failed)} of {len(runs)} runs failed, and the table does not include them. Their logs:\n"
            f"{_logs(failed)}\nAdd --allow-missing to skip those that only need a missing file, key or package."
        )
    return page


def _logs(runs: list[Run]) -> str:
    return "\n".join(f"  {run.name}: {run.folder / 'log.txt'}" for run in runs)
