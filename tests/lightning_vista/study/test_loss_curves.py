import csv
import math
from pathlib import Path

import pytest

from lightning_vista.study import ComputeRatioSpec, FigureSpec
from lightning_vista.study.loss_curves import add_compute_ratios, frontiers, read_losses, write_frontiers
from lightning_vista.study.study_figures import plan_figure
from lightning_vista.study.study_table import StudyRow

RATIO = ComputeRatioSpec("test/forget", "val/forget")


def row(folder: Path, variant: str, tables: dict[int, str], losses: dict[int, float], size: int = 8) -> StudyRow:
    """A row whose runs have kept the given tables."""
    folders = {seed: folder / f"{variant}_{size}" / str(seed) for seed in losses}
    for seed, table in tables.items():
        folders[seed].mkdir(parents=True)
        (folders[seed] / "losses.csv").write_text(table)
    return StudyRow(variant, variant, {"size": size}, folder, {"test/forget": losses}, folders)


def curve(*losses: float) -> str:
    """What `LossLog` writes: validations every 10 steps, and losses of training between them."""
    lines = [f"{10 * place + 5},0,9.0,\n{10 * place + 10},0,9.0,{loss}\n" for place, loss in enumerate(losses)]
    return "step,epoch,train/loss,val/forget\n" + "".join(lines)


def test_ratios_are_read_off_the_baselines_curve_of_the_same_seed_and_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row(tmp_path, "base", {0: curve(3.0, 2.0, 1.0), 1: curve(3.0, 1.0)}, {0: 1.0, 1: 1.0}),
        row(tmp_path, "base", {0: curve(9.0, 2.0)}, {0: 2.0}, size=16),
        row(tmp_path, "ours", {}, {0: 2.5, 1: 2.5, 2: 2.5}),
        row(tmp_path, "ours", {}, {0: math.nan}, size=16),
    ]
    assert add_compute_ratios(rows, {"ratio": RATIO}, "base") == {
        "ratio": (name := "compute ratio of test/forget by val/forget of base")
    }
    assert rows[0].values[name] == {0: 1.0, 1: 1.0}
    assert rows[2].values[name] == {0: 0.5, 1: 0.625}
    assert math.isnan(rows[3].values[name][0])
    printed = capsys.readouterr().out
    assert printed.count("ratio: no curve for") == 1
    assert "no curve for ours, seeds [2]. It needs a finished run of 'base' with the same seed" in printed


def test_rows_without_a_curve_get_no_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(tmp_path, "base", {0: curve(3.0)}, {0: 1.0}), row(tmp_path, "ours", {}, {0: 2.5})]
    (name,) = add_compute_ratios(rows, {"ratio": ComputeRatioSpec("test/forget", "val/forget", "base")}).values()
    assert all(name not in row.values for row in rows)
    assert capsys.readouterr().out.count("no curve") == 2


def test_steps_without_all_columns_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("step,a,b\n1,1.0,\n2,1.0,nan\n3,1.0,2.0\n")
    assert read_losses(tmp_path / "losses.csv", ["a", "b"]) == {3: [1.0, 2.0]}
    assert len(read_losses(tmp_path / "losses.csv", ["a"])) == 3
    assert read_losses(tmp_path / "losses.csv", ["c"]) == read_losses(tmp_path / "absent.csv", ["a"]) == {}


def test_the_rows_of_one_step_are_read_together(tmp_path: Path) -> None:
    # `LossLog` writes what was logged for an epoch after the validation at its last step.
    (tmp_path / "losses.csv").write_text("step,epoch,a,train/b\n5,0,2.0,\n5,1,,9.0\n10,1,1.0,\n10,2,,8.0\n")
    assert read_losses(tmp_path / "losses.csv", ["a"]) == {5: [2.0], 10: [1.0]}
    assert read_losses(tmp_path / "losses.csv", ["a", "train/b"]) == {5: [2.0, 9.0], 10: [1.0, 8.0]}


@pytest.mark.parametrize("damaged", [b"step,a\n1,0.2x\n", b"stxp,a\n1,0.2\n", b"step,a\n1,0\xff2\n", b"step,a\nx,1\n"])
def test_a_damaged_table_is_named(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "losses.csv").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"losses\.csv is damaged .* Restore or remove it"):
        read_losses(tmp_path / "losses.csv", ["a"])


def test_a_frontier_has_the_steps_that_no_other_surpasses(tmp_path: Path) -> None:
    spec = FigureSpec("F", {"forget loss": "forget"}, x="retain", frontier="losses.csv", runs=["ours", "none"])
    first = "step,forget,retain\n0,1.0,1.0\n10,3.0,2.0\n20,2.0,2.5\n30,4.0,3.0\n"
    second = "step,forget,retain\n0,1.0,1.0\n10,5.0,2.0\n20,4.0,2.5\n40,9.0,9.0\n"
    rows = [row(tmp_path, "ours", {0: first, 1: second}, {0: 1.0, 1: 1.0, 2: 1.0}), row(tmp_path, "none", {}, {0: 1.0})]
    hidden = row(tmp_path, "hidden", {0: first}, {0: 1.0})
    found = {row.name: [tuple(point) for point in points] for row, _, points in frontiers(spec, [*rows, hidden])}
    assert found == {"ours": [(0, 1.0, 1.0), (10, 2.0, 4.0)], "none": []}  # step 20 is surpassed, 30 and 40 are of one
    chart = plan_figure(spec, [*rows, hidden])
    assert {name: [(point.place, point.values) for point in points] for name, points in chart.series.items()} == {
        "ours": [(1.0, (1.0,)), (2.0, (4.0,))],
        "none": [],
    }
    assert chart.lines
    assert not chart.log_x
    write_frontiers([spec], rows, tmp_path / "frontiers.csv")
    with (tmp_path / "frontiers.csv").open() as file:
        assert list(csv.DictReader(file))[1] == {
            "figure": "F", "run": "ours", "series": "forget loss", "step": "10", "x": "2.0", "y": "4.0",
        }  # fmt: skip
