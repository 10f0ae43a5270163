import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_it_measures_both_ways_of_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    main = runpy.run_path(str(BENCHMARKS / "checked_reading.py"))["main"]
    out = tmp_path / "results.json"
    arguments = ["--videos", "4", "--frames", "8", "--size", "32", "--rounds", "1", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["checked_reading.py", *arguments])
    main()
    measured = json.loads(out.read_text())
    assert measured["checked_seconds"] > 0
    assert measured["unchecked_seconds"] > 0
    assert 0 < measured["share_of_hashing"] < 1
