"""docs/correctness.md counts its cases as pytest does."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    (test, int(cases))
    for cases, test in re.findall(
        r"^\|[^|]+\| ([\d,]+) \|.*\| `(tests/[^`]+)` \|$", (ROOT / "docs/correctness.md").read_text("utf-8"), re.M
    )
]


def test_every_row_names_a_test_once() -> None:
    table = (ROOT / "docs/correctness.md").read_text("utf-8")
    assert len(ROWS) == len(dict(ROWS)) == table.count("\n| ") - table.count("\n| inputs ") > 30
    for test, _ in ROWS:
        path, name = test.split("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8")


@pytest.mark.slow
def test_cases_are_as_many_as_pytest_collects() -> None:
    files = sorted({test.split("::")[0] for test, _ in ROWS})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-m", "", *files]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    found = Counter(line.split("[")[0] for line in listed.splitlines() if "::" in line)
    assert dict(ROWS) == {test: found[test] for test, _ in ROWS}
