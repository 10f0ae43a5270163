"""A word that an option of this room does not know is an error, never the default."""

from collections.abc import Callable

import pytest
import torch

from lightning_vista.metrics import ProblemSetScores, rescale_scores, score_problem_set

TARGETS = torch.eye(2, dtype=torch.bool)
WRONG: dict[str, Callable[[], object]] = {
    "rescale_scores": lambda: rescale_scores(torch.zeros(2, 2), "softmax"),  # type: ignore[arg-type] # as below
    "score_problem_set": lambda: score_problem_set(torch.zeros(2, 2), TARGETS, "softmax"),  # type: ignore[arg-type]
    "ProblemSetScores": lambda: ProblemSetScores([], rescaling="softmax"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_an_unknown_word_is_an_error(case: str) -> None:
    with pytest.raises(ValueError, match="^`rescaling`: expected one of 'none', 'video', 'label', 'both', got 'softm"):
        WRONG[case]()
