"""A word that an option of this room does not know is an error, never the default."""

from collections.abc import Callable

import pytest

from lightning_vista.video import FrameSpec, sample_indices

WRONG: dict[str, Callable[[], object]] = {
    "FrameSpec sampling": lambda: FrameSpec(sampling="unifrom"),  # type: ignore[arg-type] # on purpose, as below
    "FrameSpec interpolation": lambda: FrameSpec(interpolation="lanczos"),  # type: ignore[arg-type]
    "sample_indices sampling": lambda: sample_indices(10, 2, "every"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_an_unknown_word_is_an_error(case: str) -> None:
    with pytest.raises(ValueError, match=f"^`{case.split()[1]}`: expected one of '.*', got '"):
        WRONG[case]()
