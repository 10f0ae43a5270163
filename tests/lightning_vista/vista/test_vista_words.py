"""A word that an option of this room does not know is an error, never the default."""

from collections.abc import Callable

import pytest

from lightning_vista.video import FrameSpec
from lightning_vista.vista import ProblemSets
from lightning_vista.vista.index import ShardIndex
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import EvaluationStream

INDEX = ShardIndex(ProblemSets([]), (), None, (), "")
WRONG: dict[str, Callable[[], object]] = {
    "build_shards missing": lambda: build_shards("no", "such", "folders", missing="ignore"),  # type: ignore[arg-type]
    "SampleStream on_error": lambda: EvaluationStream(Storage("x"), INDEX, FrameSpec(), on_error="skip"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_an_unknown_word_is_an_error(case: str) -> None:
    with pytest.raises(ValueError, match=f"^`{case.split()[1]}`: expected one of '.*', got '"):
        WRONG[case]()
