"""Reads and writes the official ViSTa layout: a tree of `<name>.yaml` beside `<name>_data.json`, and `metadata.csv`."""

import csv
import io
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, overload

import yaml

from lightning_vista.vista.problem_sets import FaultsError, LabelledVideo, ProblemSet, kind_of, level_of

METADATA_COLUMNS = ("video", "level", "description", "environment", "problem_set_type", "problem_set")
_DATA_SUFFIX = "_data.json"
_KNOWN_KEYS = ("label_prompts", "prompt_gpt", "example_gpt")


class ProblemSetError(FaultsError):
    """A tree with broken problem sets; `errors` names the file and key of every fault."""


@dataclass(frozen=True)
class Skipped:
    """A file of the tree that is not part of a problem set.

    Attributes:
        path: The file, relative to the tasks folder.
        reason: Why it is none.
    """

    path: str
    reason: str


class ProblemSets(Sequence[ProblemSet]):
    """The problem sets of a tree, ordered by id, and what else lay there.

    Attributes:
        skipped: Every file that is not part of a problem set, with the reason.
    """

    def __init__(self, problem_sets: Iterable[ProblemSet], skipped: Iterable[Skipped] = ()) -> None:
        self._problem_sets = tuple(sorted(problem_sets, key=lambda problem_set: problem_set.id))
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._problem_sets)

    @overload
    def __getitem__(self, index: int) -> ProblemSet: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ProblemSet, ...]: ...
    def __getitem__(self, index: int | slice) -> ProblemSet | tuple[ProblemSet, ...]:
        return self._problem_sets[index]

    def __iter__(self) -> Iterator[ProblemSet]:
        return iter(self._problem_sets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProblemSets):
            return NotImplemented
        return (self._problem_sets, self.skipped) == (other._problem_sets, other.skipped)

    def __repr__(self) -> str:
        return f"ProblemSets({len(self)} problem sets, {len(self.skipped)} other files)"

    def matching(self, patterns: Iterable[str]) -> "ProblemSets":
        """The problem sets whose id matches any of some glob patterns.

        Args:
            patterns: Such as `alfred/*`; `*` also matches slashes.

        Returns:
            These problem sets, in order.

        Raises:
            ValueError: If a pattern matches none.
        """
        patterns = tuple(patterns)
        for pattern in patterns:
            if not any(fnmatchcase(problem_set.id, pattern) for problem_set in self):
                raise ValueError(
                    f"No problem set matches {pattern!r}; ids look like {self[0].id!r}. "
                    "Quote patterns on a command line, so that the shell leaves them alone."
                )
        chosen = (item for item in self if any(fnmatchcase(item.id, pattern) for pattern in patterns))
        return ProblemSets(chosen, self.skipped)

    def memberships(self) -> dict[str, list[tuple[ProblemSet, tuple[str, ...]]]]:
        """Each video's problem sets with its true labels there, by the video's path, both in sorted order."""
        members: dict[str, list[tuple[ProblemSet, tuple[str, ...]]]] = {}
        for problem_set in self:
            for video in problem_set.videos:
                members.setdefault(problem_set.video_key(video), []).append((problem_set, video.labels))
        return dict(sorted(members.items()))


def read_problem_sets(tasks_dir: str | Path) -> ProblemSets:
    """Read every problem set below a `tasks/` folder.

    Args:
        tasks_dir: A tree of `<environment>/<level folder>/[<type>/]<name>.yaml` + `<name>_data.json` pairs.

    Returns:
        The problem sets, ordered by id; `.skipped` lists every other file with the reason.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no problem set.
        ProblemSetError: If any problem set is broken; it lists all faults of the tree.
    """
    root = Path(tasks_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"No folder of problem sets at {root}: give the dataset's `tasks` folder.")
    found: list[ProblemSet] = []
    skipped: list[Skipped] = []
    errors: list[str] = []
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    for name in sorted(files):
        if name.endswith(_DATA_SUFFIX):
            partner = name.removesuffix(_DATA_SUFFIX) + ".yaml"
            if partner not in files:
                errors.append(f"{name}: its descriptions are missing: add {partner}, or remove the file")
        elif not name.endswith(".yaml"):
            skipped.append(Skipped(name, f"neither <name>.yaml nor <name>{_DATA_SUFFIX}"))
        elif name.removesuffix(".yaml") + _DATA_SUFFIX not in files:
            skipped.append(Skipped(name, f"a template: no {PurePosixPath(name).stem}{_DATA_SUFFIX} beside it"))
        else:
            problem_set = _read_pair(root, name, errors)
            if problem_set is not None:
                found.append(problem_set)
    if errors:
        raise ProblemSetError(f"the problem sets of {root}", errors)
    if not found:
        raise FileNotFoundError(
            f"{root} holds {len(files)} file(s) but no <name>.yaml with <name>{_DATA_SUFFIX} beside it: "
            "give the folder that contains the environments (`tasks`)."
        )
    return ProblemSets(found, skipped)


def write_problem_sets(problem_sets: Iterable[ProblemSet], dataset_dir: str | Path) -> None:
    """Write `tasks/` and `metadata.csv` below a folder; the same problem sets give the same bytes.

    Args:
        problem_sets: What to write; ids must be unique.
        dataset_dir: The folder that `tasks/` and `metadata.csv` go into; files of the same names are replaced.

    Raises:
        ValueError: If two problem sets have the same id.
    """
    root = Path(dataset_dir)
    ordered = ProblemSets(problem_sets)
    repeated = [id for id, count in Counter(problem_set.id for problem_set in ordered).items() if count > 1]
    if repeated:
        raise ValueError(f"Problem sets need different ids, but these occur more than once: {', '.join(repeated)}")
    for problem_set in ordered:
        path = root / "tasks" / f"{problem_set.id}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_yaml_text(problem_set), encoding="utf-8", newline="\n")
        entries = [{"path": video.path, "label": ",".join(video.labels)} for video in problem_set.videos]
        data = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
        path.with_name(path.stem + _DATA_SUFFIX).write_text(data, encoding="utf-8", newline="\n")
    (root / "metadata.csv").write_text(metadata_csv(ordered), encoding="utf-8", newline="")


def metadata_rows(problem_sets: Iterable[ProblemSet]) -> list[dict[str, str]]:
    """The rows of the official `metadata.csv`: one per (video, true description), keys as `METADATA_COLUMNS`."""
    return [
        {
            "video": problem_set.video_key(video),
            "level": str(problem_set.level),
            "description": problem_set.descriptions[label],
            "environment": problem_set.environment,
            "problem_set_type": problem_set.type,
            "problem_set": f"tasks/{problem_set.id}.yaml",
        }
        for problem_set in problem_sets
        for video in problem_set.videos
        for label in video.labels
    ]


def metadata_csv(problem_sets: Iterable[ProblemSet]) -> str:
    """The text of `metadata.csv`, lines ending in a line feed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, METADATA_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(metadata_rows(problem_sets))
    return text.getvalue()


class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where PyYAML has it
    """Safe YAML that refuses a repeated key, where plain YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = sorted(key for key, count in Counter(keys).items() if count > 1)
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"key(s) given more than once: {', '.join(repeated)}", node.start_mark
            )
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def _read_pair(root: Path, name: str, errors: list[str]) -> ProblemSet | None:
    """Read one `<name>.yaml` with its data; add what is wrong to `errors` and return None then."""
    faults: list[str] = []
    id = name.removesuffix(".yaml")
    data_name = id + _DATA_SUFFIX
    header = _parse(root / name, lambda text: yaml.load(text, Loader=_UniqueKeyLoader), yaml.YAMLError, faults)
    entries = _parse(root / data_name, json.loads, json.JSONDecodeError, faults)
    if not faults and not isinstance(header, dict):
        faults.append(f"expected a mapping with `label_prompts`, got {type(header).__name__}")
    if faults:
        errors.extend(f"{name}: {fault}" for fault in faults)
        return None
    parts = id.split("/")
    if len(parts) < 3:
        faults.append("expected it at <environment>/<level folder>/<type>/<name>.yaml: move it there")
    else:
        for check in (lambda: level_of(parts[1]), lambda: kind_of(parts[-2], header.get("metadata"))):
            try:
                check()
            except ValueError as error:
                faults.append(str(error))
    descriptions = _descriptions(header.get("label_prompts"), faults)
    for key in ("prompt_gpt", "example_gpt"):
        if not isinstance(header.get(key), str | None):
            faults.append(f"`{key}`: expected text, got {type(header[key]).__name__}: quote it")
    errors.extend(f"{name}: {fault}" for fault in faults)
    data_faults: list[str] = []
    videos = _labelled_videos(entries, descriptions, data_faults)
    errors.extend(f"{data_name}: {fault}" for fault in data_faults)
    if faults or data_faults:
        return None
    extra = {key: value for key, value in header.items() if key not in _KNOWN_KEYS}
    return ProblemSet(id, descriptions, tuple(videos), header.get("prompt_gpt"), header.get("example_gpt"), extra)


def _parse(path: Path, load: Any, error_type: type[Exception], faults: list[str]) -> Any:  # any document
    """The parsed file, or None with the fault recorded."""
    try:
        return load(path.read_text(encoding="utf-8-sig"))
    except (error_type, UnicodeDecodeError) as error:
        faults.append(f"{path.name} cannot be read: {' '.join(str(error).split())}")
        return None


def _descriptions(prompts: object, faults: list[str]) -> dict[str, str]:
    """Label id -> description, checked."""
    if not isinstance(prompts, dict) or not prompts:
        came = "nothing" if prompts is None else repr(prompts)
        faults.append(f"`label_prompts`: expected a mapping of label id to description, got {came}")
        return {}
    for label, description in prompts.items():
        if not isinstance(label, str) or not label.strip() or "," in label or label != label.strip():
            faults.append(
                f"`label_prompts`: label id {label!r} must be text without commas or outer spaces: rename or quote it"
            )
        if not isinstance(description, str) or not description.strip():
            faults.append(f"`label_prompts.{label}`: expected a description, got {description!r}")
    return prompts


def _labelled_videos(entries: object, descriptions: Mapping[str, str], faults: list[str]) -> list[LabelledVideo]:
    """The list of the data file, checked against the label ids."""
    if not isinstance(entries, list) or not entries:
        faults.append(f"expected a list of {{path, label}}, got {type(entries).__name__} {entries!r:.40}")
        return []
    videos: dict[str, LabelledVideo] = {}
    for number, entry in enumerate(entries):
        keys = entry if isinstance(entry, dict) else {}
        path, label = keys.get("path"), keys.get("label")
        if not isinstance(path, str) or not isinstance(label, str):
            faults.append(f"entry {number}: expected text for `path` and `label`, got {entry!r:.80}")
            continue
        labels = tuple(part.strip() for part in label.split(","))
        unknown = [part for part in labels if part not in descriptions]
        if unknown:
            known = ", ".join(map(str, descriptions))
            faults.append(
                f"entry {number} `label`: {', '.join(map(repr, unknown))} is not in `label_prompts` ({known})"
            )
        if len(set(labels)) < len(labels):
            faults.append(f"entry {number} `label`: {label!r} names a label twice")
        if not _stays_inside(path):
            faults.append(f"entry {number} `path`: {path!r} must be relative and stay inside the video folder")
        if path in videos:
            faults.append(f"entry {number} `path`: {path!r} is listed twice: give all its labels in one entry")
        videos[path] = LabelledVideo(path, labels)
    return list(videos.values())


def _stays_inside(path: str) -> bool:
    """Whether a path is relative, without `..`, and written with forward slashes."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and "\\" not in path


def _yaml_text(problem_set: ProblemSet) -> str:
    """The YAML file of a problem set: descriptions first, then the chat judge's texts, then the rest."""
    header: dict[str, Any] = {"label_prompts": dict(problem_set.descriptions)}
    if problem_set.hint is not None:
        header["prompt_gpt"] = problem_set.hint
    if problem_set.example is not None:
        header["example_gpt"] = problem_set.example
    header.update(problem_set.extra)
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=120)
