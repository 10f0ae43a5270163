"""The campaign of faults: kinds of trials, a seeded driver, counts of outcomes, and the table of docs/reliability.md.

A module of this folder with a constant `KIND` adds a kind; nothing else has to name it. Its name must not be that of a
module of Python or of a package, since it is imported as a top-level one.
"""

import importlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple


class Outcome(Enum):
    """Ends of a trial; the value is the heading of its column."""

    SAME = "same values"
    REFUSED = "refused, named"
    REMADE = "made again"
    UNNAMED = "error without a name"
    WRONG = "other values"
    CRASH = "traceback"
    HANG = "hang or orphan"

    @property
    def is_right(self) -> bool:
        """Say whether the outcome is one that a user can rely on."""
        return self in (Outcome.SAME, Outcome.REFUSED, Outcome.REMADE)


class Verdict(NamedTuple):
    """The outcome of a trial and, for wrong ones, what was seen."""

    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of faults.

    Attributes:
        name: Word that names the kind on the command line.
        subjects: What the faults are done to (formats, commands, servers) -> number of trials in the whole campaign.
        trial: Function of (state, subject, random generator, empty folder) that does one fault. All that is random
            comes from the generator, so a trial can be repeated alone.
        prepare: Function of an empty folder that makes what all trials share, such as an undisturbed run. Trials only
            read it.
        sample: Number of trials in CI, spread evenly over the subjects.
    """

    name: str
    subjects: Mapping[str, int]
    trial: Callable[[Any, str, random.Random, Path], Verdict]
    prepare: Callable[[Path], Any] = field(default=lambda folder: None)
    sample: int = 12


class Trial(NamedTuple):
    """One trial: `<kind>/<subject>/<number>` and the seed of the campaign determine all of it."""

    kind: str
    subject: str
    number: int

    def generator(self, seed: int) -> random.Random:
        """Return the generator of the trial, which does not depend on the trials before it."""
        return random.Random(f"{seed}/{self.kind}/{self.subject}/{self.number}")

    def __str__(self) -> str:
        return f"{self.kind}/{self.subject}/{self.number}"


#: Trials that were done, with their verdicts.
Results = dict[Trial, Verdict]


def find_kinds() -> dict[str, Kind]:
    """Return the kinds of this folder by name."""
    modules = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    found = [importlib.import_module(name) for name in modules if not name.startswith(("test_", "__", "harness"))]
    kinds = [module.KIND for module in found if hasattr(module, "KIND")]
    return {kind.name: kind for kind in kinds}


def all_trials(kind: Kind) -> list[Trial]:
    """Return the trials of the whole campaign."""
    return [Trial(kind.name, subject, number) for subject, count in kind.subjects.items() for number in range(count)]


def sampled_trials(kind: Kind) -> list[Trial]:
    """Return the trials of CI: the first of every subject, then the second, until the sample is full."""
    return sorted(all_trials(kind), key=lambda trial: trial.number)[: kind.sample]


def run_trials(kind: Kind, trials: Sequence[Trial], seed: int = 0) -> Iterator[tuple[Trial, Verdict, float]]:
    """Do trials one after another.

    Args:
        kind: The kind.
        trials: Its trials.
        seed: Random seed of the campaign.

    Yields:
        Each trial, its verdict and its duration in seconds. An exception of a trial is a fault of the product that
        nobody foresaw, so it is counted as a crash.
    """
    with tempfile.TemporaryDirectory(prefix=f"faults-{kind.name}-") as root:
        shared = Path(root, "shared")
        shared.mkdir()
        state = kind.prepare(shared)
        for trial in trials:
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=root) as folder:
                try:
                    verdict = kind.trial(state, trial.subject, trial.generator(seed), Path(folder))
                except Exception as error:  # anything: that is what a campaign is for
                    verdict = Verdict(Outcome.CRASH, f"{type(error).__name__}: {error}")
            yield trial, verdict, time.monotonic() - start


def outcome_table(results: Results, kinds: Iterable[Kind]) -> str:
    """Return the counts as a Markdown table: a row for each subject, and one for all of a kind."""
    shown = [outcome for outcome in Outcome if outcome.is_right or outcome in {v.outcome for v in results.values()}]
    heads = ["kind", "done to", "trials", *(outcome.value for outcome in shown)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * 2}{'--:|' * (len(heads) - 2)}"]
    for kind in kinds:
        total: Counter[Outcome] = Counter()
        for subject in kind.subjects:
            of_subject = [v.outcome for t, v in results.items() if (t.kind, t.subject) == (kind.name, subject)]
            total.update(of_subject)
            if of_subject:
                lines.append(_row(kind.name, subject, Counter(of_subject), shown))
        if total:
            lines.append(_row(f"**{kind.name}**", "**all**", total, shown))
    return "\n".join(lines)


def _row(name: str, subject: str, counts: Counter[Outcome], shown: Sequence[Outcome]) -> str:
    cells = [name, subject, str(counts.total()), *(str(counts[outcome]) for outcome in shown)]
    return f"| {' | '.join(cells)} |"


def wrong_trials(results: Results) -> list[str]:
    """Return a line for each trial that ended in a wrong way."""
    return [f"{trial}: {v.outcome.value}: {v.detail}" for trial, v in results.items() if not v.outcome.is_right]


def read_log(path: Path, seed: int) -> Results:
    """Read the verdicts of a campaign that was interrupted."""
    results: Results = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        entry = json.loads(line)
        if entry["seed"] == seed:
            trial = Trial(entry["kind"], entry["subject"], entry["number"])
            results[trial] = Verdict(Outcome(entry["outcome"]), entry["detail"])
    return results


def append_log(path: Path, seed: int, trial: Trial, verdict: Verdict, seconds: float) -> None:
    """Append the verdict of a trial to the log of the campaign."""
    entry = {
        "seed": seed,
        **trial._asdict(),
        "outcome": verdict.outcome.value,
        "detail": verdict.detail,
        "seconds": round(seconds, 2),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
