"""Example videos with their candidate descriptions, and transcripts of chats, from run folders."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_vista.evaluation.example_videos import read_examples
from lightning_vista.evaluation.progress_file import Progress, read_progress
from lightning_vista.files.documents import read_inside

#: Budgets for videos, of which the page plays the first few, and for transcripts.
VIDEO_BYTES = 6_000_000
TRANSCRIPT_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Transcript:
    """A chat scorer's conversation about one video.

    Attributes:
        run: Name of the run folder.
        name: Name of the transcript's file.
        text: Text of the conversation.
    """

    run: str
    name: str
    text: str

    @property
    def key(self) -> str:
        """Key of the video's sample, which is the stem of its example file too."""
        return Path(self.name).stem


@dataclass
class Showcase:
    """The videos and transcripts of a page.

    Attributes:
        examples: Entries `{video, problem_set, descriptions, file}`; `video` is a key of `videos`.
        videos: Video -> its base64 text; each video once, however many runs and problem sets show it.
        transcripts: Conversations, those of the example videos first.
        left_out: Sentences about the videos and transcripts that did not fit.
        progress: (video, problem set) -> model -> progress, for runs with a `progress.json`.
    """

    examples: list[dict[str, Any]] = field(default_factory=list)
    videos: dict[str, str] = field(default_factory=dict)
    transcripts: list[Transcript] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    progress: dict[tuple[str, str], dict[str, Progress]] = field(default_factory=dict)


def read_showcase(runs: Iterable[Path]) -> Showcase:
    """Collect the examples and transcripts of run folders, as many as a page can hold.

    Args:
        runs: Run folders, each with or without `examples/` and `transcripts/`.

    Returns:
        The examples and transcripts that fit, and a report of the others.

    Raises:
        ValueError: If an example or a `progress.json` is damaged or missing.
    """
    showcase = Showcase()
    folders = list(runs)
    for run in folders:
        _add_examples(showcase, run)
        measured = read_progress(run)
        if measured is None:
            continue
        for curve in measured.curves:
            showcase.progress.setdefault((curve.video, curve.problem_set), {})[measured.model] = curve
    _add_transcripts(showcase, folders)
    return showcase


def _add_examples(showcase: Showcase, run: Path) -> None:
    shown = {(example["video"], example["problem_set"]) for example in showcase.examples}
    spent = sum(map(len, showcase.videos.values()))
    skipped = 0
    for entry in read_examples(run):
        if (entry["video"], entry["problem_set"]) in shown:
            continue
        if entry["video"] not in showcase.videos:
            content = base64.b64encode(entry["content"]).decode("ascii")
            if spent + len(content) > VIDEO_BYTES:
                skipped += 1
                continue
            showcase.videos[entry["video"]] = content
            spent += len(content)
        showcase.examples.append({key: value for key, value in entry.items() if key not in ("content", "sha256")})
    if skipped:
        showcase.left_out.append(f"{skipped} example videos of {run.name} did not fit into this page")


def _add_transcripts(showcase: Showcase, runs: Sequence[Path]) -> None:
    keys = {Path(example["file"]).stem for example in showcase.examples}
    files = [
        (run.name, path)
        for run in runs
        for path in sorted((run / "transcripts").glob("*"))
        if path.suffix in (".json", ".txt")
    ]
    spent = skipped = 0
    for run, path in sorted(files, key=lambda item: item[1].stem not in keys):
        text = read_inside(path, path.parents[1]).decode(errors="replace")  # without a checksum: damage shows
        spent += len(text)
        if spent > TRANSCRIPT_CHARACTERS:
            skipped += 1
        else:
            showcase.transcripts.append(Transcript(run, path.name, text))
    if skipped:
        showcase.left_out.append(f"{skipped} transcripts did not fit into this page; they lie in the run folders")
