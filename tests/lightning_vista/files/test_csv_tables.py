import ast
import csv
import io
from pathlib import Path

import pytest

from lightning_vista.files.csv_tables import csv_text, plain_cell

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-a", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", '=HYPERLINK("http://x";"y")'],  # noqa: RUF001
)
def test_formulas_become_texts(text: str) -> None:
    table = csv_text([[text, "a"], ["b", text]])
    cells = [cell for row in csv.reader(io.StringIO(table, newline="")) for cell in row]
    assert cells == [f"'{text}".replace("\r", "\n"), "a", "b", f"'{text}".replace("\r", "\n")]


@pytest.mark.parametrize("value", ["a=b", "-0.5", "+3", "1e-3", "-inf", "", "'=1", -0.5, None, True])
def test_other_cells_stay(value: object) -> None:
    assert plain_cell(value) == value


def test_lines_end_as_asked() -> None:
    assert csv_text([["a", 1], [None, True]], line_end="\r\n") == "a,1\r\n,True\r\n"


def test_every_table_is_written_by_these_writers() -> None:
    """`csv.writer` and its like are used nowhere else in the package."""
    for folder in ("lightning_vista", "callbacks", "datamodules"):
        for path in (ROOT / folder).rglob("*.py"):
            names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
            used = names & {"DictWriter", "writer", "to_csv"} if "import csv" in path.read_text() else set()
            assert path.name == "csv_tables.py" or not used, path
            assert "write_csv" not in names or path.name == "leaderboard.py", path
