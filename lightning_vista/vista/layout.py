"""Reader and writer of the official ViSTa layout: `<name>.yaml` beside `<name>_data.json`, and `metadata.csv`."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, overload

import yaml

from lightning_vista.files.csv_tables import csv_text
from lightning_vista.files.documents import DocumentError, check_regular, parse_json, parse_yaml, read_document
from lightning_vista.files.own_files import write_whole
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
        path: Path of the file, relative to the tasks folder.
        reason: Reason why it is not part of a problem set.
    """

    path: str
    reason: str


class ProblemSets(Sequence[ProblemSet]):
    """The problem sets of a tree, ordered by id, and the other files in it.

    Args:
        problem_sets: Problem sets in any order.
        skipped: Files that are not part of a problem set, with the reason.

    Attributes:
        skipped: Files that are not part of a problem set, with the reason.
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
        """Return the problem sets whose id is, or matches, any of some glob patterns.

        Args:
            patterns: Glob patterns such as `alfred/*`; `*` also matches slashes. An id with brackets names itself too.

        Returns:
            The matching problem sets, in order.

        Raises:
            ValueError: If a pattern matches no problem set.

        Example:
            >>> sets = ProblemSets(ProblemSet(f"{world}/level_2/remix/a", {}, ()) for world in ("craft", "home"))
            >>> [problem_set.id for problem_set in sets.matching(["home/*"])]
            ['home/level_2/remix/a']
        """
        patterns = tuple(patterns)
        for pattern in patterns:
            if not any(_matches(problem_set.id, pattern) for problem_set in self):
                close = get_close_matches(pattern, [problem_set.id for problem_set in self], n=1) or [self[0].id]
                raise ValueError(
                    f"No problem set matches {pattern!r}; ids look like {close[0]!r}. "
                    "Quote patterns on a command line, so that the shell leaves them alone."
                )
        chosen = (item for item in self if any(_matches(item.id, pattern) for pattern in patterns))
        return ProblemSets(chosen, self.skipped)

    def memberships(self) -> dict[str, list[tuple[ProblemSet, tuple[str, ...]]]]:
        """Return each video's problem sets with its true labels in them, by the video's path; both are sorted."""
        members: dict[str, list[tuple[ProblemSet, tuple[str, ...]]]] = {}
        for problem_set in self:
            for video in problem_set.videos:
                members.setdefault(problem_set.video_key(video), []).append((problem_set, video.labels))
        return dict(sorted(members.items()))


def _matches(id: str, pattern: str) -> bool:
    return id == pattern or fnmatchcase(id, pattern)


def read_problem_sets(tasks_dir: str | Path) -> ProblemSets:
    """Read every problem set below a `tasks/` folder.

    Args:
        tasks_dir: Folder with pairs of `<environment>/<level folder>/[<type>/]<name>.yaml` and `<name>_data.json`.

    Returns:
        The problem sets, ordered by id; `.skipped` lists every other file with the reason.

    Raises:
        FileNotFoundError: If the folder does not exist or does not hold a problem set.
        ProblemSetError: If any problem set is broken; the message lists all faults of the tree.
    """
    root = Path(tasks_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"No folder of problem sets at {root}. Give the dataset's `tasks` folder.")
    found: list[ProblemSet] = []
    skipped: list[Skipped] = []
    errors: list[str] = []
    files = _files(root, errors)
    for name in sorted(files):
        if name.endswith(_DATA_SUFFIX):
            partner = name.removesuffix(_DATA_SUFFIX) + ".yaml"
            if partner not in files:
                errors.append(f"{name}: expected its descriptions in {partner}, got no such file. Add or remove one.")
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
            f"{root} holds {len(files)} file(s) but no <name>.yaml with <name>{_DATA_SUFFIX} beside it. "
            "Give the folder that contains the environments (`tasks`)."
        )
    return ProblemSets(found, skipped)


def _files(root: Path, errors: list[str]) -> set[str]:
    """Return the paths of all files below a folder; links to folders, which are not followed, become errors."""
    files = set()
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if not path.is_dir():
            files.add(name)
        elif path.is_symlink():  # it may lead in circles, or out of a folder that somebody else has made
            errors.append(f"{name}: expected a folder or a file, got a link to a folder. Copy the folder to its place.")
    return files


def write_problem_sets(problem_sets: Iterable[ProblemSet], dataset_dir: str | Path) -> None:
    """Write `tasks/` and `metadata.csv` below a folder; the same problem sets give the same bytes.

    Args:
        problem_sets: Problem sets with unique ids.
        dataset_dir: Folder for `tasks/` and `metadata.csv`; files of the same names are replaced.

    Raises:
        ValueError: If two problem sets have the same id.
    """
    root = Path(dataset_dir)
    ordered = ProblemSets(problem_sets)
    repeated = [id for id, count in Counter(problem_set.id for problem_set in ordered).items() if count > 1]
    if repeated:
        raise ValueError(f"`problem_sets`: expected different ids, got these more than once: {', '.join(repeated)}.")
    for problem_set in ordered:
        path = root / "tasks" / f"{problem_set.id}.yaml"
        write_whole(path, _yaml_text(problem_set), sync=False)
        entries = [{"path": video.path, "label": ",".join(video.labels)} for video in problem_set.videos]
        data = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
        write_whole(path.with_name(path.stem + _DATA_SUFFIX), data, sync=False)
    write_whole(root / "metadata.csv", metadata_csv(ordered))


def refuse_problem_sets(dataset_dir: str | Path) -> None:
    """Refuse to write problem sets where some are already, or a table of the name of theirs.

    Args:
        dataset_dir: Folder for `tasks/` and `metadata.csv`.

    Raises:
        FileExistsError: If it holds one of these.
    """
    for name in ("tasks", "metadata.csv"):
        if (path := Path(dataset_dir) / name).exists():
            raise FileExistsError(f"{path}: expected no problem sets yet. Give a new folder, or move it away.")


def metadata_rows(problem_sets: Iterable[ProblemSet]) -> list[dict[str, str]]:
    """Return the rows of the official `metadata.csv`, one per (video, true description).

    Args:
        problem_sets: Problem sets in the order of the rows.

    Returns:
        Rows with the keys of `METADATA_COLUMNS`.
    """
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
    """Return the text of `metadata.csv`, with lines ending in a line feed.

    Example:
        >>> from lightning_vista.vista.problem_sets import LabelledVideo
        >>> videos = (LabelledVideo("a.mp4", ("ab",)),)
        >>> print(metadata_csv([ProblemSet("home/level_2/remix/a", {"ab": "We wait"}, videos)]), end="")
        video,level,description,environment,problem_set_type,problem_set
        home/a.mp4,2,We wait,home,remix,tasks/home/level_2/remix/a.yaml
    """
    rows = metadata_rows(problem_sets)
    return csv_text([METADATA_COLUMNS, *([row[column] for column in METADATA_COLUMNS] for row in rows)])


def _read_pair(root: Path, name: str, errors: list[str]) -> ProblemSet | None:
    """Read one `<name>.yaml` with its data; if it is broken, add its faults to `errors` and return None."""
    faults: list[str] = []
    id = name.removesuffix(".yaml")
    data_name = id + _DATA_SUFFIX
    header = _parse(root, name, parse_yaml, faults)
    entries = _parse(root, data_name, parse_json, faults)
    if not faults and not isinstance(header, dict):
        faults.append(f"expected a mapping with `label_prompts`, got {type(header).__name__}.")
    if faults:
        errors.extend(f"{name}: {fault}" for fault in faults)
        return None
    parts = id.split("/")
    if len(parts) < 3:
        faults.append("expected it at <environment>/<level folder>/<type>/<name>.yaml. Move it there.")
    else:
        for check in (lambda: level_of(parts[1]), lambda: kind_of(parts[-2], header.get("metadata"))):
            try:
                check()
            except ValueError as error:
                faults.append(str(error))
    descriptions = _descriptions(header.get("label_prompts"), faults)
    for key in ("prompt_gpt", "example_gpt"):
        if not isinstance(header.get(key), str | None):
            faults.append(f"`{key}`: expected text, got {type(header[key]).__name__}. Quote it.")
    errors.extend(f"{name}: {fault}" for fault in faults)
    data_faults: list[str] = []
    videos = _labelled_videos(entries, descriptions, data_faults)
    errors.extend(f"{data_name}: {fault}" for fault in data_faults)
    if faults or data_faults:
        return None
    extra = {key: value for key, value in header.items() if key not in _KNOWN_KEYS}
    return ProblemSet(id, descriptions, tuple(videos), header.get("prompt_gpt"), header.get("example_gpt"), extra)


def _parse(root: Path, name: str, parse: Callable[[str], Any], faults: list[str]) -> Any:
    """Parse a file of the tree; if that fails, record the fault and return None."""
    path = root / name
    try:
        check_regular(path)
        if not path.resolve().is_relative_to(root.resolve()):
            raise DocumentError("a link that leaves the folder of problem sets: copy the file into it")
        return parse(read_document(path))
    except (DocumentError, OSError) as error:
        faults.append(f"{path.name} cannot be read: {' '.join(str(error).split())}")
        return None


def _descriptions(prompts: object, faults: list[str]) -> dict[str, str]:
    """Check the mapping of label id to description and return it."""
    if not isinstance(prompts, dict) or not prompts:
        got = "nothing" if prompts is None else repr(prompts)
        faults.append(f"`label_prompts`: expected a mapping of label id to description, got {got}.")
        return {}
    for label, description in prompts.items():
        if not isinstance(label, str) or not label.strip() or "," in label or label != label.strip():
            faults.append(
                f"`label_prompts`: expected ids without commas or outer spaces, got {label!r}. Quote or rename it."
            )
        if not isinstance(description, str) or not description.strip():
            faults.append(f"`label_prompts.{label}`: expected a description, got {description!r}.")
    labels_of: dict[str, list[str]] = {}
    for label, description in prompts.items():
        labels_of.setdefault(" ".join(str(description).split()), []).append(str(label))
    faults += [
        f"`label_prompts`: expected different descriptions, got {description!r} for {', '.join(labels)}. Every scorer "
        "ties them. Remove or reword one."
        for description, labels in labels_of.items()
        if len(labels) > 1 and description
    ]
    return prompts


def _labelled_videos(entries: object, descriptions: Mapping[str, str], faults: list[str]) -> list[LabelledVideo]:
    """Check the list of the data file against the label ids and return its videos."""
    if not isinstance(entries, list) or not entries:
        faults.append(f"expected a list of {{path, label}}, got {type(entries).__name__} {entries!r:.40}.")
        return []
    videos: dict[str, LabelledVideo] = {}
    for number, entry in enumerate(entries):
        keys = entry if isinstance(entry, dict) else {}
        path, label = keys.get("path"), keys.get("label")
        if not isinstance(path, str) or not isinstance(label, str):
            faults.append(f"entry {number}: expected text for `path` and `label`, got {entry!r:.80}.")
            continue
        labels = tuple(sys.intern(part.strip()) for part in label.split(","))  # one text for all videos
        unknown = [part for part in labels if part not in descriptions]
        if unknown:
            known = ", ".join(map(str, descriptions))
            close = get_close_matches(unknown[0], map(str, descriptions), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            faults.append(
                f"entry {number} `label`: expected labels of `label_prompts` ({known}), got "
                f"{', '.join(map(repr, unknown))}.{hint}"
            )
        if len(set(labels)) < len(labels):
            faults.append(f"entry {number} `label`: expected each label once, got {label!r}.")
        if not stays_inside(path):
            faults.append(f"entry {number} `path`: expected a relative path inside the video folder, got {path!r}.")
        elif PurePosixPath(path).as_posix() != path:  # else the same video would be two, also across problem sets
            shortest = PurePosixPath(path).as_posix()
            faults.append(
                f"entry {number} `path`: expected it without empty parts and dots, {shortest!r}, got {path!r}."
            )
            path = shortest
        if path in videos:
            faults.append(f"entry {number} `path`: {path!r} is listed twice. Give all its labels in one entry.")
        videos[path] = LabelledVideo(path, labels)
    return list(videos.values())


def stays_inside(path: str) -> bool:
    r"""Tell whether a path is relative, without `..`, and written with forward slashes and printable characters.

    Args:
        path: Path from a file that may come from anywhere.

    Example:
        >>> stays_inside("a b/c.mp4"), stays_inside("../c.mp4"), stays_inside("/c.mp4"), stays_inside("c\n.mp4")
        (True, False, False, False)
    """
    pure = PurePosixPath(path)
    plain = not any(ord(character) < 32 or ord(character) == 127 for character in path) and "\\" not in path
    return plain and bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts


def _yaml_text(problem_set: ProblemSet) -> str:
    """Return the YAML file of a problem set: descriptions, then the texts for chat scorers, then the other keys."""
    header: dict[str, Any] = {"label_prompts": dict(problem_set.descriptions)}
    if problem_set.hint is not None:
        header["prompt_gpt"] = problem_set.hint
    if problem_set.example is not None:
        header["example_gpt"] = problem_set.example
    header.update(problem_set.extra)
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=120)
