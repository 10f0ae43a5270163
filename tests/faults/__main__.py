"""The whole campaign: `make faults`, or `python tests/faults --kinds mutations --sample`."""

import argparse
import logging
import os
import sys
from pathlib import Path

# As in tests/conftest.py: one thread for each process, set before torch is imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from harness import (  # noqa: E402
    all_trials,
    append_log,
    find_kinds,
    outcome_table,
    read_log,
    run_trials,
    sampled_trials,
    wrong_trials,
)

from lightning_vista.processes.progress import progress_bar  # noqa: E402


def main() -> int:
    kinds = find_kinds()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=sorted(kinds), default=list(kinds), help="default: all")
    parser.add_argument("--sample", action="store_true", help="only the trials that CI does")
    parser.add_argument("--only", help="only trials whose <kind>/<subject>/<number> begins so")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another campaign (default: 0)")
    parser.add_argument("--log", type=Path, default=Path("runs/faults.jsonl"), help="verdicts, not repeated if in it")
    options = parser.parse_args()
    # A trainer says which accelerators it has found, and there is one for each trial.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    results = read_log(options.log, options.seed)
    wanted = []
    for name in options.kinds:
        kind = kinds[name]
        trials = sampled_trials(kind) if options.sample else all_trials(kind)
        trials = [trial for trial in trials if str(trial).startswith(options.only or "")]
        wanted += trials
        left = [trial for trial in trials if trial not in results]
        if not left:
            continue
        with progress_bar(f"Trials of {name}", total=len(left)) as advance:
            for trial, verdict, seconds in run_trials(kind, left, options.seed):
                append_log(options.log, options.seed, trial, verdict, seconds)
                results[trial] = verdict
                advance(1)
    done = {trial: results[trial] for trial in wanted}
    print(outcome_table(done, [kinds[name] for name in options.kinds]))
    wrong = wrong_trials(done)
    print(f"\n{len(done)} trials, {len(wrong)} wrong outcomes.", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
