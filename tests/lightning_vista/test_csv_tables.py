import ast
import csv
import io
from pathlib import Path

import pytest

from lightning_vista.csv_tables import RecordWriter, TableWriter, plain_cell

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-a", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", '=HYPERLINK("http://x";"y")'],  # noqa: RUF001
)
def test_formulas_become_texts(text: str) -> None:
    file = io.StringIO()
    TableWriter(file).writerows([[text, "a"], ["b", text]])
    RecordWriter(file, [text, "x"]).writeheader()
    cells = [cell for row in csv.reader(io.StringIO(file.getvalue(), newline="")) for cell in row]
    assert [cell for cell in cells if cell not in ("a", "b", "x")] == [f"'{text}".replace("\r", "\n")] * 3


@pytest.mark.parametrize("value", ["a=b", "-0.5", "+3", "1e-3", "-inf", "", "'=1", -0.5, None, True])
def test_other_cells_stay(value: object) -> None:
    assert plain_cell(value) == value


def test_records_have_the_given_columns() -> None:
    file = io.StringIO()
    table = RecordWriter(file, ["a", "b"], ignore_others=True)
    table.writeheader()
    table.writerows([{"b": 1, "c": 2}])
    assert file.getvalue() == "a,b\n,1\n"
    with pytest.raises(ValueError, match="'c'"):
        RecordWriter(file, ["a", "b"]).writerows([{"c": 2}])


def test_every_table_is_written_by_these_writers() -> None:
    """`csv.writer` and its like are used nowhere else in the package."""
    for folder in ("lightning_vista", "callbacks", "datamodules"):
        for path in (ROOT / folder).rglob("*.py"):
            names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
            used = names & {"DictWriter", "writer", "to_csv"} if "import csv" in path.read_text() else set()
            assert path.name == "csv_tables.py" or not used, path
            assert "write_csv" not in names or path.name == "leaderboard.py", path
