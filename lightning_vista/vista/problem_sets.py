"""Problem sets: descriptions to choose from, and the videos to choose for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_vista.options import check_word


class FaultsError(ValueError):
    """All faults of some input, raised at once.

    Args:
        what: Name of the input, as in "the score table a.parquet".
        errors: One line per fault: its place, what was expected, what was found, and the remedy.

    Attributes:
        errors: These lines.

    Example:
        >>> print(FaultsError("the list", ["entry 0: expected a name, got 3. Quote it."]))
        1 fault(s) in the list:
          - entry 0: expected a name, got 3. Quote it.
    """

    def __init__(self, what: str, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        lines = "\n".join(f"  - {error}" for error in errors)
        super().__init__(f"{len(errors)} fault(s) in {what}:\n{lines}")


KINDS = ("objects", "properties", "actions", "tracking", "interaction", "general", "permutation")

#: The kind of each type folder of the official layout; matched exactly, never by prefix.
KIND_OF_TYPE: dict[str, str] = {
    "objects": "objects",
    "containers": "objects",
    "object": "objects",
    "on_v_off": "properties",
    "sliced_v_whole": "properties",
    "open_v_closed": "properties",
    "pick_v_put": "actions",
    "slice": "actions",
    "toggle": "actions",
    "clean": "actions",
    "heat": "actions",
    "cool": "actions",
    "opening_v_closing": "actions",
    "foundation": "actions",  # Minecraft's one level-1 set lies directly in the level folder
    "object_tracking": "tracking",
    "scramble": "tracking",
    "object_interaction": "interaction",
    "remix": "general",
    "permutation": "permutation",
    "permutation_go_only": "permutation",  # ours, called trace-free: orders of 'go to' steps, which leave no trace
}

_LEVEL_FOLDER = re.compile(r"level_([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """One video of a problem set.

    Attributes:
        path: Path in the problem set's JSON, relative to the environment's video folder.
        labels: Ids of the descriptions that are true of the video: one, or several in a multi-label set.
    """

    path: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ProblemSet:
    """One classification problem: every video is scored against every description (ViSTa, section 3).

    Attributes:
        id: Path of its YAML file without the ending, `<environment>/<level folder>/<type>/<name>`.
        descriptions: Label id -> description, in the order of the file; ties between scores go to the first.
        videos: Videos with their true labels, in the order of the file.
        hint: Words for a chat scorer before it sees the frames (`prompt_gpt`).
        example: A worked example for a chat scorer (`example_gpt`).
        extra: Other keys of the YAML file (`metadata`, `prompt_baseline`, ...), kept for the writer.

    Example:
        >>> problem_set = ProblemSet(
        ...     id="home/level_2/permutation/go",
        ...     descriptions={"ab": "First, we go to a, and then we go to b", "ba": "First, we go to b, ..."},
        ...     videos=(LabelledVideo("permutation/go/0.mp4", ("ab",)),),
        ... )
        >>> problem_set.environment, problem_set.level, problem_set.type, problem_set.kind
        ('home', 2, 'permutation', 'permutation')
        >>> problem_set.video_key(problem_set.videos[0])
        'home/permutation/go/0.mp4'
    """

    id: str
    descriptions: Mapping[str, str]
    videos: tuple[LabelledVideo, ...]
    hint: str | None = None
    example: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> str:
        """World that the videos were recorded in: the first folder of the id."""
        return self.id.split("/")[0]

    @property
    def level(self) -> int:
        """Number of actions in sequence, 1 to 8."""
        return level_of(self.id.split("/")[1])

    @property
    def type(self) -> str:
        """Folder of the YAML file."""
        return self.id.split("/")[-2]

    @property
    def kind(self) -> str:
        """Kind, one of `KINDS`: from the type folder, or from `metadata: {kind: ...}` for a folder of your own."""
        return kind_of(self.type, self.extra.get("metadata"))

    @property
    def labels(self) -> tuple[str, ...]:
        """Label ids, in the order of the file."""
        return tuple(self.descriptions)

    def video_key(self, video: LabelledVideo) -> str:
        """Return the video's path below the folder of all videos, `<environment>/<path>`."""
        return f"{self.environment}/{video.path}"


def level_of(folder: str) -> int:
    """Return the level that a level folder stands for.

    Args:
        folder: Name of the folder: `foundation` and `extrapyramidal` are level 1, `level_N` is level N.

    Returns:
        Number of actions in sequence, at least 1.

    Raises:
        ValueError: If the folder is not one of these.

    Example:
        >>> level_of("foundation"), level_of("level_8")
        (1, 8)
    """
    if folder in ("foundation", "extrapyramidal"):
        return 1
    match = _LEVEL_FOLDER.fullmatch(folder)
    if match is None:
        raise ValueError(f"level folder: expected 'foundation', 'extrapyramidal' or 'level_<number>', got {folder!r}.")
    return int(match[1])


def kind_of(type_folder: str, metadata: object = None) -> str:
    """Return the kind of a problem set.

    Args:
        type_folder: Folder of its YAML file.
        metadata: The YAML file's `metadata`; its `kind`, if given, takes precedence over the folder.

    Returns:
        One of `KINDS`.

    Raises:
        ValueError: If the folder is not one of ViSTa's and `metadata` does not name a known kind.

    Example:
        >>> kind_of("remix"), kind_of("juggling", {"kind": "actions"})
        ('general', 'actions')
    """
    kind = metadata.get("kind") if isinstance(metadata, Mapping) else None
    if kind is None:
        kind = KIND_OF_TYPE.get(type_folder)
    if kind is None:
        raise ValueError(
            f"type folder: expected one of {', '.join(sorted(KIND_OF_TYPE))}, got {type_folder!r}. "
            f"Rename it, or add `metadata: {{kind: ...}}` to the YAML file with one of {', '.join(KINDS)}."
        )
    check_word("metadata.kind", kind, KINDS)
    return str(kind)


def declared_kinds(problem_sets: Iterable[ProblemSet]) -> dict[str, str]:
    """Return the kinds that problem sets declare in their own `metadata`, for the `kinds` of a score table.

    Args:
        problem_sets: Any problem sets.

    Returns:
        Problem set id -> kind, without the sets whose type folder already determines it.

    Example:
        >>> declared_kinds([
        ...     ProblemSet("home/level_2/remix/a", {}, ()),
        ...     ProblemSet("home/level_2/juggling/b", {}, (), extra={"metadata": {"kind": "actions"}}),
        ... ])
        {'home/level_2/juggling/b': 'actions'}
    """
    return {item.id: item.kind for item in problem_sets if KIND_OF_TYPE.get(item.type) != item.kind}


def declared_held_out(problem_sets: Iterable[ProblemSet]) -> dict[str, bool]:
    """Return the sets that say in their `metadata` whether their combinations were held out of training.

    Args:
        problem_sets: Any problem sets.

    Returns:
        Problem set id -> `held_out`, for the sets that declare it.

    Example:
        >>> a = ProblemSet("home/level_2/remix/a", {}, (), extra={"metadata": {"held_out": True}})
        >>> declared_held_out([a, ProblemSet("home/level_2/remix/b", {}, ())])
        {'home/level_2/remix/a': True}
    """
    declared = {item.id: (item.extra.get("metadata") or {}).get("held_out") for item in problem_sets}
    return {id: held_out for id, held_out in declared.items() if isinstance(held_out, bool)}


def outline(problem_set: str, kinds: Mapping[str, str] | None = None) -> ProblemSet:
    """Return the environment, level, type and kind that a problem set's id determines.

    Args:
        problem_set: Problem set id, `<environment>/<level folder>/<type>/<name>`.
        kinds: Problem set id -> kind, for sets whose type folder does not determine it.

    Returns:
        A problem set without descriptions and videos, which a score table does not hold.

    Raises:
        ValueError: If the id has fewer than three parts, or its level or kind is unknown.

    Example:
        >>> a = outline("alfred/foundation/clean/apple")
        >>> a.environment, a.level, a.type, a.kind
        ('alfred', 1, 'clean', 'actions')
    """
    kind = (kinds or {}).get(problem_set)
    result = ProblemSet(problem_set, {}, (), extra={} if kind is None else {"metadata": {"kind": kind}})
    if problem_set.count("/") < 2:
        raise ValueError(f"expected <environment>/<level folder>/<type>/<name>, got {problem_set!r}.")
    _ = result.level, result.kind  # both properties raise for an unknown folder
    return result
