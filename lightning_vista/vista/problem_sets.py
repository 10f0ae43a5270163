"""Problem sets: descriptions to choose from, and the videos that they are asked about."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class FaultsError(ValueError):
    """Everything that is wrong with some input, raised once.

    Args:
        what: The input, as in "the score table a.parquet".
        errors: One line per fault: where it is, what was expected, what came, what to do.

    Attributes:
        errors: These lines.

    Example:
        >>> print(FaultsError("the list", ["entry 0: expected a name, got 3: quote it"]))
        1 fault(s) in the list:
          - entry 0: expected a name, got 3: quote it
    """

    def __init__(self, what: str, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        lines = "\n".join(f"  - {error}" for error in errors)
        super().__init__(f"{len(errors)} fault(s) in {what}:\n{lines}")


KINDS = ("objects", "properties", "actions", "tracking", "interaction", "general", "permutation")

#: The kind that each type folder of the official layout belongs to; matched exactly, never by prefix.
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
    "permutation_go_only": "permutation",  # ours: orders of 'go to' steps only, which leave no trace to see
}

_LEVEL_FOLDER = re.compile(r"level_([1-9]\d*)")


@dataclass(frozen=True)
class LabelledVideo:
    """One video of a problem set.

    Attributes:
        path: The path as the problem set's JSON gives it, relative to the environment's video folder.
        labels: The ids of the descriptions that are true of it: one, or several in a multi-label set.
    """

    path: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ProblemSet:
    """One classification problem: every video is scored against every description (ViSTa, section 3).

    Attributes:
        id: `<environment>/<level folder>/<type>/<name>`, the path of its YAML file without the ending.
        descriptions: Label id -> description, in the order of the file; ties between scores go to the first.
        videos: The videos with their true labels, in the order of the file.
        hint: What a chat judge is told before it sees the frames (`prompt_gpt`).
        example: A worked example for a chat judge (`example_gpt`).
        extra: Every other key of the YAML file (`metadata`, `prompt_baseline`, ...), kept for the writer.

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
        """The world the videos were recorded in: the first folder of the id."""
        return self.id.split("/")[0]

    @property
    def level(self) -> int:
        """The number of actions in sequence, 1 to 8."""
        return level_of(self.id.split("/")[1])

    @property
    def type(self) -> str:
        """The folder that the YAML file lies in."""
        return self.id.split("/")[-2]

    @property
    def kind(self) -> str:
        """One of `KINDS`: what the type folder, or `metadata: {kind: ...}` for a folder of your own, says."""
        return kind_of(self.type, self.extra.get("metadata"))

    @property
    def labels(self) -> tuple[str, ...]:
        """The label ids, in the order of the file."""
        return tuple(self.descriptions)

    def video_key(self, video: LabelledVideo) -> str:
        """The video's path below the folder of all videos: `<environment>/<path>`."""
        return f"{self.environment}/{video.path}"


def level_of(folder: str) -> int:
    """The level that a level folder stands for.

    Args:
        folder: `foundation` and `extrapyramidal` are level 1, `level_N` is level N.

    Returns:
        The number of actions in sequence, at least 1.

    Raises:
        ValueError: If the folder is none of these.

    Example:
        >>> level_of("foundation"), level_of("level_8")
        (1, 8)
    """
    if folder in ("foundation", "extrapyramidal"):
        return 1
    match = _LEVEL_FOLDER.fullmatch(folder)
    if match is None:
        raise ValueError(f"level folder {folder!r}: expected 'foundation', 'extrapyramidal' or 'level_<number>'")
    return int(match[1])


def kind_of(type_folder: str, metadata: object = None) -> str:
    """The kind of a problem set.

    Args:
        type_folder: The folder its YAML file lies in.
        metadata: The YAML file's `metadata`; its `kind`, where given, wins over the folder.

    Returns:
        One of `KINDS`.

    Raises:
        ValueError: If the folder is not one of ViSTa's and `metadata` names no kind, or an unknown one.

    Example:
        >>> kind_of("remix"), kind_of("juggling", {"kind": "actions"})
        ('general', 'actions')
    """
    kind = metadata.get("kind") if isinstance(metadata, Mapping) else None
    if kind is None:
        kind = KIND_OF_TYPE.get(type_folder)
    if kind is None:
        raise ValueError(
            f"type folder {type_folder!r} is none of ViSTa's ({', '.join(sorted(KIND_OF_TYPE))}): "
            f"rename it, or add `metadata: {{kind: ...}}` to the YAML file with one of {', '.join(KINDS)}"
        )
    if kind not in KINDS:
        raise ValueError(f"`metadata: {{kind: {kind}}}`: expected one of {', '.join(KINDS)}")
    return str(kind)
