"""A word that an option of this room does not know is an error, never the default."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_vista.reports import build_results, write_report
from lightning_vista.reports.run_results import read_run_results

WRONG: dict[str, Callable[[Path], object]] = {
    "build_results": lambda _: build_results([], "softmax"),  # type: ignore[arg-type] # on purpose, as below
    "write_report": lambda folder: write_report([], folder / "out", "softmax"),  # type: ignore[arg-type]
    "read_run_results": lambda folder: read_run_results(folder, "softmax"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_an_unknown_word_is_an_error(case: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^`rescaling`: expected one of 'none', 'video', 'label', 'both', got 'softm"):
        WRONG[case](tmp_path)
    assert not list(tmp_path.iterdir())
