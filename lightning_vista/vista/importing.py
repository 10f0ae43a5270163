"""Conversion of foreign sources into problem sets of the official layout."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from lightning_vista.files.own_files import file_sha256, written_whole
from lightning_vista.processes.progress import progress_bar
from lightning_vista.vista.layout import ProblemSets, refuse_problem_sets, write_problem_sets
from lightning_vista.vista.problem_sets import KIND_OF_TYPE, LabelledVideo, ProblemSet
from lightning_vista.vista.source_readers import read_source
from lightning_vista.vista.source_rows import SourceError, SourceRow, name_fault

SourceFormat: TypeAlias = Literal["auto", "table", "huggingface", "webdataset", "questions"]


def import_problem_sets(
    source: str | Path,
    out: str | Path,
    *,
    source_format: SourceFormat = "auto",
    videos: str | Path | None = None,
    environment: str | None = None,
    columns: Mapping[str, str] | None = None,
    link: bool = False,
) -> ProblemSets:
    """Make problem sets of the official layout, with their videos, of a foreign source.

    Rows of one `set`, level and kind become one problem set, whose descriptions are those of its rows and their
    candidates. A row with candidates but without a set becomes a problem set of its own. Descriptions are sorted, so
    their order says nothing about the truth.

    Args:
        source: CSV, JSONL or JSON file; folder of a Hugging Face dataset; folder of WebDataset shards.
        out: Folder to write: `tasks/`, `metadata.csv` and `videos/`. Videos that an interrupted import has copied are
            kept, after their bytes have been compared with the source's.
        source_format: `table`, `huggingface`, `webdataset`, `questions`, or `auto` to tell it from the source.
        videos: Folder of the videos that a file names; the file's own by default. Links in it may lead anywhere; those
            in a dataset's own folder may not leave it.
        environment: Name of the environment; the source's name by default.
        columns: Column of the source for each of `video`, `description`, `set`, `level`, `kind`, `candidates`.
        link: Whether to make hard links of videos that are files, on the same file system, instead of copies.

    Returns:
        The problem sets.

    Raises:
        FileNotFoundError: If the source does not exist, or holds nothing of a known format.
        FileExistsError: If `out` already holds problem sets, or videos of the same names with other bytes.
        SourceError: If rows are broken; lists all faults with their places.
        ValueError: If `environment` is not a name, or the source cannot be parsed.
    """
    root = Path(out)
    refuse_problem_sets(root)
    name = environment or _slug(Path(source).stem)
    if fault := name_fault(name):
        raise ValueError(f"`environment`: {fault}")
    found = read_source(Path(source), source_format, Path(videos) if videos else None, columns, link)
    faults = list(found.faults)
    problem_sets = group_rows(found.rows, name, faults)
    if faults:
        raise SourceError(f"{source}", faults)
    targets = {root / "videos" / name / row.video: row for row in found.rows}
    present = _present_videos(targets)
    with progress_bar("Copying videos", len(targets)) as advance:
        for target, row in targets.items():
            if target not in present:
                with written_whole(target) as temporary:
                    row.write(temporary)
            advance(1)
    write_problem_sets(problem_sets, root)  # last: their presence marks a finished import
    if found.unused:
        print(f"columns that are not read: {', '.join(found.unused)}")
    return ProblemSets(problem_sets)


def group_rows(rows: Sequence[SourceRow], environment: str, faults: list[str]) -> list[ProblemSet]:
    """Group rows into problem sets.

    Args:
        rows: The rows.
        environment: Name of the environment, which is also that of rows without a set.
        faults: List to which faults of the groups are added.

    Returns:
        The problem sets, of which those with faults are useless.
    """
    groups: dict[str, list[SourceRow]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        alone = f"{_slug(Path(row.video).stem)}_{number:05d}" if row.candidates else environment
        groups[_id(environment, row, row.problem_set or alone)].append(row)
    return [_problem_set(id, members, faults) for id, members in sorted(groups.items())]


def _id(environment: str, row: SourceRow, name: str) -> str:
    level = "foundation" if row.level == 1 else f"level_{row.level}"
    return f"{environment}/{level}/{'remix' if row.kind == 'general' else row.kind}/{name}"


def _problem_set(id: str, rows: Sequence[SourceRow], faults: list[str]) -> ProblemSet:
    """Build the problem set of some rows."""
    texts = sorted({row.description for row in rows} | {text for row in rows for text in row.candidates})
    if len(texts) < 2:
        faults.append(
            f"{rows[0].place}: the set {id}: expected at least two descriptions to choose from, got {texts[0]!r} "
            "alone. Add rows of other descriptions, or `candidates`."
        )
    label_of = dict(zip(texts, labels(texts), strict=True))
    places: dict[tuple[str, str], str] = {}
    true: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if before := places.get((row.video, row.description)):
            faults.append(f"{row.place}: the same video and description as {before}. Remove one.")
            continue
        places[row.video, row.description] = row.place
        true[row.video].append(label_of[row.description])
    kind, folder = rows[0].kind, id.split("/")[-2]
    extra = {} if KIND_OF_TYPE.get(folder) == kind else {"metadata": {"kind": kind}}
    found = tuple(LabelledVideo(video, tuple(names)) for video, names in true.items())
    hint = next((row.hint for row in rows if row.hint), None)
    return ProblemSet(id, {label_of[text]: text for text in texts}, found, hint=hint, extra=extra)


def labels(texts: Iterable[str]) -> list[str]:
    """Return a label id for each description: its first words, with a number where two are alike.

    Example:
        >>> labels(["We open the box", "We open the box!", "..."])
        ['we_open_the_box', 'we_open_the_box_2', 'label']
    """
    found: dict[str, None] = {}
    for text in texts:
        base = re.sub(r"\W+", "_", text.lower())[:40].strip("_") or "label"
        numbered = (base if number == 1 else f"{base}_{number}" for number in range(1, len(found) + 2))
        found[next(name for name in numbered if name not in found)] = None
    return list(found)


def _slug(text: str) -> str:
    """Return a name made of a text, short enough for what is added to it: a number, and the endings of files."""
    words = re.sub(r"\W+", "_", text.lower()).strip("_").encode(errors="ignore")[:150].decode(errors="ignore")
    return words or "videos"


def _present_videos(targets: Mapping[Path, SourceRow]) -> set[Path]:
    """Return the videos that are there already; refuse those with other bytes than the source's."""
    present = {target for target in targets if target.exists()}
    others = []
    if not present:
        return present
    with TemporaryDirectory(dir=min(present).parent) as folder:  # links need one file system
        own = Path(folder) / "video"
        for target in sorted(present):
            targets[target].write(own)
            is_same = target.is_file() and target.stat().st_size == own.stat().st_size
            if not is_same or file_sha256(target) != file_sha256(own):
                others.append(target)
            own.unlink()
    if others:
        lines = "\n".join(f"  - {target}" for target in others)
        raise FileExistsError(
            f"expected the source's videos, got {len(others)} file(s) of the same names with other bytes:\n{lines}\n"
            "Give a new folder, or move them away."
        )
    return present
