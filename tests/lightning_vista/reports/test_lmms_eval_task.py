"""The task of lmms-eval, read as lmms-eval 0.7 reads it, and against the benchmark's own figures."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.cli import main
from lightning_vista.metrics import macro_f1
from lightning_vista.reports import export_lmms_eval, lmms_eval_utils
from lightning_vista.video import FrameSpec, decode_video
from lightning_vista.vista import read_problem_sets
from lightning_vista.vista.shards import build_shards

#: The fields of lmms-eval's `TaskConfig` that its documentation describes for tasks of questions.
DOCUMENTED = {
    "task",
    "dataset_path",
    "dataset_kwargs",
    "test_split",
    "output_type",
    "doc_to_visual",
    "doc_to_text",
    "doc_to_target",
    "process_results",
    "generation_kwargs",
    "metric_list",
    "lmms_eval_specific_kwargs",
    "metadata",
}


class Task:
    """A task's folder: YAML with the functions that it names, and the questions."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        spec = importlib.util.spec_from_file_location("utils", self.folder / "utils.py")
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)

        class Loader(yaml.SafeLoader):
            pass

        def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
            file, name = str(loader.construct_scalar(node)).rsplit(".", 1)
            assert file == "utils"
            return getattr(module, name)

        Loader.add_constructor("!function", function)
        self.config: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader)
        (name,) = self.config["dataset_kwargs"]["data_files"].values()
        lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        self.questions: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def evaluate(self, replies: list[str]) -> dict[str, float]:
        """Collect the results by metric and aggregate them, as lmms-eval does."""
        items: dict[str, list[Any]] = {}
        for question, reply in zip(self.questions, replies, strict=True):
            for metric, item in self.config["process_results"](question, [reply]).items():
                items.setdefault(metric, []).append(item)
        aggregations = {entry["metric"]: entry["aggregation"] for entry in self.config["metric_list"]}
        assert items.keys() == aggregations.keys()
        return {metric: aggregations[metric](found) for metric, found in items.items()}


@pytest.fixture(scope="module")
def task(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return Task(export_lmms_eval(shards, tmp_path_factory.mktemp("lmms")))


def test_the_yaml_has_documented_fields_only(task: Task) -> None:
    assert task.config.keys() == DOCUMENTED
    assert task.config["output_type"] == "generate_until"
    assert task.config["dataset_path"] == "json"
    assert set(task.config["dataset_kwargs"]["data_files"]) == {task.config["test_split"]}
    assert all(entry.keys() == {"metric", "aggregation", "higher_is_better"} for entry in task.config["metric_list"])


def test_every_video_of_every_problem_set_is_a_question(task: Task, dataset: Path) -> None:
    expected = {
        (problem_set.id, problem_set.video_key(video)): (problem_set, video)
        for problem_set in read_problem_sets(dataset / "tasks")
        for video in problem_set.videos
    }
    assert len(task.questions) == len(expected) == len({question["id"] for question in task.questions})
    for question in task.questions:
        problem_set, video = expected[question["problem_set"], question["video"]]
        assert question["descriptions"] == list(problem_set.descriptions.values())
        assert [problem_set.labels[place - 1] for place in question["answers"]] == [
            label for label in problem_set.labels if label in video.labels
        ]
        assert (question["level"], question["kind"]) == (problem_set.level, problem_set.kind)
        text = task.config["doc_to_text"](question, task.config["lmms_eval_specific_kwargs"]["default"])
        assert all(f"{place}. {words}" in text for place, words in enumerate(question["descriptions"], 1))
        (path,) = task.config["doc_to_visual"](question)
        assert Path(path).read_bytes() == (dataset / "videos" / question["video"]).read_bytes()
    assert decode_video(Path(path).read_bytes(), FrameSpec(2, size=8)).frames.shape == (2, 3, 8, 8)


def test_right_answers_are_right_everywhere(task: Task) -> None:
    figures = task.evaluate([task.config["doc_to_target"](question) for question in task.questions])
    assert figures.pop("vista_unread") == 0
    assert set(figures.values()) == {1.0}
    assert {"vista_macro_f1", "vista_accuracy", "vista_macro_f1_level_1"} <= figures.keys()


def test_silence_is_wrong_and_counted(task: Task) -> None:
    figures = task.evaluate(["I cannot tell."] * len(task.questions))
    assert figures.pop("vista_unread") == 1
    assert set(figures.values()) == {0.0}


@pytest.mark.parametrize(
    ("reply", "given"),
    [("2", [2]), ("The answer is 3.", [3]), ("**1**", [1]), ("2 or 3", [2]), ("7", []), ("2.5", []), ("none", [])],
)
def test_replies_are_read_strictly(reply: str, given: list[int]) -> None:
    doc = {"problem_set": "a", "answers": [2], "descriptions": ["a", "b", "c"], "kind": "general", "level": 2}
    found = lmms_eval_utils.vista_process_results(doc, [reply])
    assert found["vista_macro_f1"]["given"] == given
    two = doc | {"answers": [1, 3]}
    assert lmms_eval_utils.vista_process_results(two, ["3, 1"])["vista_accuracy"]["given"] == [3, 1]
    assert lmms_eval_utils.vista_process_results(two, ["3"])["vista_accuracy"]["given"] == []


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=8))
def test_macro_f1_is_that_of_the_benchmark(answers: list[tuple[int, int]]) -> None:
    items = [{"problem_set": "a", "answers": [right], "given": [given]} for right, given in answers]
    right, given_ = (
        torch.tensor([[pair[side] == label for label in (1, 2, 3)] for pair in answers]) for side in (0, 1)
    )
    assert lmms_eval_utils.vista_macro_f1(items) == pytest.approx(float(macro_f1(given_, right)))


def test_problem_sets_count_equally() -> None:
    items = [{"problem_set": "a", "answers": [1], "given": [1]}] * 9
    items += [{"problem_set": "b", "answers": [1], "given": [2]}]
    assert lmms_eval_utils.vista_macro_f1(items) == 0.5
    assert lmms_eval_utils.vista_accuracy(items) == 0.9


def test_the_command_exports_a_part_under_another_name(
    shards: Path, tmp_path: Path, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = task.questions[0]["problem_set"]
    main(["export", "lmms-eval", str(shards), "--select", chosen, "--task", "part", "--out", str(tmp_path)])
    part = Task(tmp_path / "part.yaml")
    assert {question["problem_set"] for question in part.questions} == {chosen}
    assert part.config["task"] == "part"
    assert "--include_path" in capsys.readouterr().out


def test_what_is_no_task_is_refused(dataset: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`task`: expected letters"):
        export_lmms_eval(shards, tmp_path, task="my task")
    with pytest.raises(ValueError, match="No problem set matches"):
        export_lmms_eval(shards, tmp_path, select=["nowhere/*"])
    build_shards(dataset / "tasks", dataset / "videos", tmp_path / "frames", frames=FrameSpec(2, size=8))
    with pytest.raises(ValueError, match="`shards`: expected whole videos"):
        export_lmms_eval(tmp_path / "frames", tmp_path)
