from pathlib import Path

import pytest

from lightning_vista.study import StudyError, expand_study, read_study
from lightning_vista.study.spec import merge

BASE = "model: {value: 1, diary: diary.txt}\nlist: [{a: 1}]\n"
STUDY = """
title: Some values
configs: [base.yaml]
seeds: [3, 4]
runs:
  - name: plain
  - name: changed
    overrides: {model.value: 5, list.0.a: 2}
  - name: long
    full: true
metrics: {value: test/value}
smoke: {model.value: 0}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def test_a_study_is_expanded_into_ordinary_commands(folder: Path) -> None:
    runs = expand_study(read_study(folder / "study.yaml"), folder / "out")
    assert [run.name for run in runs] == ["plain, seed 3", "plain, seed 4", "changed, seed 3", "changed, seed 4"]
    config = runs[2].config
    assert config["model"]["value"] == 5
    assert config["list"] == [{"a": 2}]
    assert config["seed_everything"] == 3
    place = folder / "out/runs/changed/seed_3"
    assert runs[2].arguments == [
        ["fit", "--config", f"{place}/run.yaml"],
        ["test", "--config", f"{place}/run.yaml", "--ckpt_path", f"{place}/checkpoints/last.ckpt"],
    ]


def test_a_variant_has_commands_of_its_own_and_appends_to_lists(folder: Path) -> None:
    (folder / "more.yaml").write_text("list+: [{b: 2}]\n")
    variant = "  - name: other\n    configs: [more.yaml]\n    commands: {test: {ckpt_path: '{folder}/a.ckpt'}}\n"
    (folder / "study.yaml").write_text(STUDY.replace("metrics:", variant + "metrics:"))
    runs = expand_study(read_study(folder / "study.yaml"), folder)
    assert runs[-1].arguments[1][-1] == f"{runs[-1].folder}/a.ckpt"
    assert runs[0].arguments[1][-1].endswith("last.ckpt")
    assert runs[-1].config["list"] == [{"a": 1}, {"b": 2}]


def test_smoke_takes_one_seed_and_its_values_and_full_takes_all_runs(folder: Path) -> None:
    study = read_study(folder / "study.yaml")
    assert [(run.name, run.config["model"]["value"]) for run in expand_study(study, folder, smoke=True)] == [
        ("plain, seed 3", 0),
        ("changed, seed 3", 0),
    ]
    assert len(expand_study(study, folder, full=True)) == 6


def test_smoke_leaves_out_values_of_a_grid_that_it_replaces(folder: Path) -> None:
    (folder / "study.yaml").write_text(STUDY + "grid: {model.value: [1, 2], other.size: [8, 9]}\n")
    runs = expand_study(read_study(folder / "study.yaml"), folder, smoke=True)
    assert [run.row for run in runs][:2] == ["plain, value 1, size 8", "plain, value 1, size 9"]
    assert (len(runs), runs[0].config["model"]["value"]) == (4, 0)


def test_a_grid_makes_a_row_of_every_point(folder: Path) -> None:
    (folder / "study.yaml").write_text(STUDY + "grid: {model.value: [1, 2], other.size: [8]}\n")
    runs = expand_study(read_study(folder / "study.yaml"), folder)
    assert [run.row for run in runs][:4:2] == ["plain, value 1, size 8", "plain, value 2, size 8"]
    assert runs[2].config["other"] == {"size": 8}


def test_a_variant_has_a_grid_of_its_own(folder: Path) -> None:
    reference = "  - name: reference\n    grid: {}\nmetrics:"
    (folder / "study.yaml").write_text(STUDY.replace("metrics:", reference) + "grid: {model.value: [1, 2]}\n")
    runs = expand_study(read_study(folder / "study.yaml"), folder)
    rows = list(dict.fromkeys(run.row for run in runs))
    assert rows == ["plain, value 1", "plain, value 2", "changed, value 1", "changed, value 2", "reference"]
    assert runs[-1].config["model"]["value"] == 1  # of the config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (STUDY.replace("title: Some values", ""), "title"),
        (STUDY + "sedes: [1]\n", "sedes"),
        (STUDY.replace("seeds: [3, 4]", "seeds: many"), "many"),
    ],
)
def test_what_is_no_study_is_told(folder: Path, text: str, message: str) -> None:
    (folder / "study.yaml").write_text(text)
    with pytest.raises(StudyError, match=message):
        read_study(folder / "study.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("list.0.a", "list.1.a", "`list.1.a`: .* got no place"),
        ("list.0.a", "model.value.a", "`model.value.a`: .* got no place"),
        ("name: changed", "name: plain", "expected names that differ"),
        ("seeds: [3, 4]", "seeds: []", "at least one of each, got none"),
    ],
)
def test_runs_that_cannot_be_are_told(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "study.yaml").write_text(STUDY.replace(old, new))
    with pytest.raises(StudyError, match=message):
        expand_study(read_study(folder / "study.yaml"), folder)


def test_another_class_drops_the_options_of_the_first(folder: Path) -> None:
    base = "model: {class_path: A, init_args: {a: 1}}\ndata: {class_path: B, init_args: {b: 1}}\n"
    (folder / "base.yaml").write_text(base)
    (folder / "other.yaml").write_text("model: {class_path: C, init_args: {c: 1}}\ndata: {init_args: {d: 1}}\n")
    study = "title: t\nmetrics: {}\nconfigs: [base.yaml]\nruns: [{name: x, configs: [other.yaml]}]\n"
    (folder / "study.yaml").write_text(study)
    (run,) = expand_study(read_study(folder / "study.yaml"), folder)
    assert run.config["model"] == {"class_path": "C", "init_args": {"c": 1}}
    assert run.config["data"] == {"class_path": "B", "init_args": {"b": 1, "d": 1}}


@pytest.mark.parametrize("name", ["Data", "package.Data", "package.data.Data"])
def test_another_name_of_a_class_keeps_its_options(name: str) -> None:
    base = {"class_path": "package.Data", "init_args": {"a": 1, "b": 1}}
    merged = merge(base, {"class_path": name, "init_args": {"b": 2}})
    assert merged == {"class_path": name, "init_args": {"a": 1, "b": 2}}


def test_differences_need_a_baseline_among_the_runs(folder: Path) -> None:
    (folder / "study.yaml").write_text(STUDY + "differences: {more: test/value}\nbaseline: nobody\n")
    with pytest.raises(StudyError, match=r"`baseline`: expected one of \['plain', 'changed', 'long'\] .* got 'nobody'"):
        read_study(folder / "study.yaml")


def test_compute_ratios_and_frontiers_say_what_they_refer_to(folder: Path) -> None:
    ratio = "compute_ratios: {ratio: {value: test/value, curve: val/value%s}}\n"
    (folder / "study.yaml").write_text(STUDY + ratio % ", baseline: plain")
    assert read_study(folder / "study.yaml").compute_ratios["ratio"].baseline == "plain"
    (folder / "study.yaml").write_text(STUDY + "baseline: plain\n" + ratio % "")
    assert read_study(folder / "study.yaml").compute_ratios["ratio"].baseline == ""
    for baseline, got in (("", "''"), (", baseline: nobody", "'nobody'")):
        (folder / "study.yaml").write_text(STUDY + ratio % baseline)
        with pytest.raises(StudyError, match=f"`baseline`: expected one of .* for `compute_ratios.ratio`, got {got}"):
            read_study(folder / "study.yaml")
    leakages = "leakages: {leakage: {value: test/value, discovery: model.share}}\n"
    for baseline, got in (("", "expected one of .* for `leakages.leakage`"), ("plain", "expected a key of .* grid")):
        (folder / "study.yaml").write_text(STUDY + f"baseline: {baseline!r}\n" + leakages)
        with pytest.raises(StudyError, match=got):
            read_study(folder / "study.yaml")
    figure = "figures: [{title: F, series: {a: val/forget}, frontier: losses.csv}]\n"
    (folder / "study.yaml").write_text(STUDY + figure)
    with pytest.raises(StudyError, match=r"`x`: expected a column of losses.csv for 'F', got 'run'"):
        read_study(folder / "study.yaml")
