"""A sample of the campaign of faults; `make faults` does the whole."""

import pytest
from harness import Kind, Outcome, Trial, Verdict, find_kinds, outcome_table, run_trials, sampled_trials, wrong_trials

KINDS = find_kinds()


def test_the_driver_counts_what_trials_return_and_repeats_them() -> None:
    def trial(state: int, subject: str, generator: object, folder: object) -> Verdict:
        if subject == "broken":
            raise KeyError("x")
        return Verdict(Outcome.SAME if state == 7 else Outcome.WRONG, str(generator.random()))  # type: ignore[attr-defined]

    kind = Kind("toy", {"good": 3, "broken": 1}, trial, prepare=lambda folder: 7, sample=2)
    assert sampled_trials(kind) == [Trial("toy", "good", 0), Trial("toy", "broken", 0)]
    trials = [Trial("toy", "good", 2), Trial("toy", "broken", 0)]
    results = {trial: verdict for trial, verdict, _ in run_trials(kind, trials)}
    again = {trial: verdict for trial, verdict, _ in run_trials(kind, trials[::-1])}
    assert results == again
    assert "| **toy** | **all** | 2 | 1 | 0 | 0 | 1 |" in outcome_table(results, [kind])
    assert wrong_trials(results) == ["toy/broken/0: traceback: KeyError: 'x'"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_sample_of_faults_ends_well(name: str) -> None:
    kind = KINDS[name]
    results = {trial: verdict for trial, verdict, _ in run_trials(kind, sampled_trials(kind))}
    print(outcome_table(results, [kind]))
    assert results
    assert not wrong_trials(results)
