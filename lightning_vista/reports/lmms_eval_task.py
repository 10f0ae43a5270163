"""Export of the benchmark as a task of lmms-eval: YAML, questions, videos and a file of functions."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_vista.files.own_files import write_whole
from lightning_vista.reports import lmms_eval_utils
from lightning_vista.vista.index import Sample, ShardIndex
from lightning_vista.vista.problem_sets import KINDS, ProblemSet
from lightning_vista.vista.samples import read_members, sample_error
from lightning_vista.vista.storage import Storage

_DATA, _UTILS = "test.jsonl", "utils.py"


def export_lmms_eval(shards: str | Path, out: str | Path, select: Sequence[str] = ("*",), task: str = "vista") -> Path:
    """Write a folder that `lmms_eval --include_path` reads: one question for each video of each problem set.

    A question lists the candidate descriptions by number, so each problem set stays a classification. The metrics are
    macro F1 of all problem sets, of each kind and of each level, accuracy, and the share of replies without an answer.

    Args:
        shards: Folder or address of finished shards with whole videos.
        out: Folder to write: `<task>.yaml`, `test.jsonl`, `utils.py` and `videos/`.
        select: Patterns of problem set ids.
        task: Name of the task.

    Returns:
        Path of the YAML file.

    Raises:
        FileNotFoundError: If the folder lacks finished shards.
        ValueError: If a pattern matches nothing, the task's name is not an identifier, or the shards hold frames
            instead of videos.
    """
    if not task.isidentifier():
        raise ValueError(f"`task`: expected letters, digits and underscores, got {task!r}. Use such a name.")
    storage = Storage(str(shards))
    index = ShardIndex.read(storage)
    if index.frames is not None:
        raise ValueError(
            f"`shards`: expected whole videos, got frames as images in {shards}. Build shards without --frames."
        )
    index = index.restricted_to(index.problem_sets.matching(select))
    folder = Path(out)
    for sample in index.samples:
        members = read_members(storage, sample)
        if "mp4" not in members:
            raise sample_error(sample, f"expected a video (mp4), got {', '.join(members)}")
        write_whole(folder / "videos" / sample.video, members["mp4"], sync=False)
    lines = [json.dumps(question, ensure_ascii=False) + "\n" for question in _questions(index)]
    write_whole(folder / _DATA, "".join(lines))
    write_whole(folder / _UTILS, Path(lmms_eval_utils.__file__).read_bytes())
    path = folder / f"{task}.yaml"
    write_whole(path, _task_yaml(task, index.problem_sets))
    return path


def _questions(index: ShardIndex) -> Iterator[dict[str, Any]]:
    """Yield the lines of `test.jsonl`, problem set by problem set; all have the same keys and types."""
    members: dict[str, list[tuple[Sample, tuple[str, ...]]]] = {}
    for sample in index.samples:
        for membership in sample.memberships:
            members.setdefault(membership.problem_set, []).append((sample, membership.labels))
    for problem_set in index.problem_sets:
        for sample, labels in members.get(problem_set.id, []):
            yield {
                "id": f"{problem_set.id} {sample.key}",
                "problem_set": problem_set.id,
                "environment": problem_set.environment,
                "level": problem_set.level,
                "kind": problem_set.kind,
                "video": sample.video,
                "hint": problem_set.hint or "",
                "descriptions": list(problem_set.descriptions.values()),
                "answers": [place for place, label in enumerate(problem_set.labels, 1) if label in labels],
            }


def _task_yaml(task: str, problem_sets: Sequence[ProblemSet]) -> str:
    """Return the task's YAML (lmms-eval, docs/guides/task_guide.md)."""
    found = {item.kind for item in problem_sets}
    kinds = [f"vista_macro_f1_{kind}" for kind in KINDS if kind in found]
    levels = [f"vista_macro_f1_level_{level}" for level in sorted({item.level for item in problem_sets})]
    metrics = [
        {"metric": name, "aggregation": _Function("vista_macro_f1"), "higher_is_better": True}
        for name in ("vista_macro_f1", *kinds, *levels)
    ]
    metrics.append({"metric": "vista_accuracy", "aggregation": _Function("vista_accuracy"), "higher_is_better": True})
    metrics.append({"metric": "vista_unread", "aggregation": _Function("vista_unread"), "higher_is_better": False})
    config = {
        "task": task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": _DATA}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_visual": _Function("vista_doc_to_visual"),
        "doc_to_text": _Function("vista_doc_to_text"),
        "doc_to_target": _Function("vista_doc_to_target"),
        "process_results": _Function("vista_process_results"),
        "generation_kwargs": {"max_new_tokens": 16, "temperature": 0, "do_sample": False},
        "metric_list": metrics,
        "lmms_eval_specific_kwargs": {"default": {"pre_prompt": "", "post_prompt": ""}},
        "metadata": [{"version": 1.0}],
    }
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False)


class _Function(str):
    """A function of `utils.py`, by name."""


class _Dumper(yaml.SafeDumper):
    """Writes functions as lmms-eval reads them: `!function utils.<name>`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Function, lambda dumper, name: dumper.represent_scalar("!function", f"{Path(_UTILS).stem}.{name}", style="")
)
