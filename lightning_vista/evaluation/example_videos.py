"""A few videos beside the scores, so that a report can show what the judge saw."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from lightning_vista.files.documents import read_inside
from lightning_vista.files.own_files import DamagedFileError, from_sealed_json, write_sealed_json, write_whole
from lightning_vista.video import FrameSpec, decode_video, encode_mp4
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.vista.index import Sample, ShardIndex
from lightning_vista.vista.remote import RemoteError
from lightning_vista.vista.samples import check_same_size, read_members, sample_description
from lightning_vista.vista.storage import Storage

MAX_EXAMPLES = 20
#: Version of `examples.json`; 1 is a bare list without checksums.
_VERSION = 2
_REMEDY = "Run `test` again: it writes the examples anew, and scores nothing again."
#: Larger videos are shown smaller and shorter, so that a page with all of them stays small.
_MAX_BYTES = 100_000
_SMALL = FrameSpec(num_frames=32, size=160)


def write_examples(run_folder: Path, index: ShardIndex, storage: Storage) -> None:
    """Write at most 20 small videos and `examples.json` into `<run folder>/examples`.

    The videos are spread over the kinds and levels, the same ones for every scorer. Damaged ones are left out: the
    score table names them.

    Args:
        run_folder: The folder of the run.
        index: The shards, with what is selected of them.
        storage: Where the shards are.
    """
    folder = run_folder / "examples"
    descriptions = {problem_set.id: dict(problem_set.descriptions) for problem_set in index.problem_sets}
    examples = []
    for sample in _choose(index):
        try:
            video = _small_video(read_members(storage, sample))
        except RemoteError:
            raise
        except (OSError, ValueError):
            continue
        name = f"{sample.key}.mp4"
        write_whole(folder / name, video, sync=False)
        place = {"video": sample.video, "file": name, "sha256": hashlib.sha256(video).hexdigest()}
        for membership in sample.memberships:
            id = membership.problem_set
            examples.append({**place, "problem_set": id, "descriptions": descriptions[id]})
    write_sealed_json(folder / "examples.json", {"examples": examples}, _VERSION)


def read_examples(run_folder: Path) -> list[dict[str, Any]]:
    """Read and check `examples/examples.json` and the videos that it names.

    Files of an earlier release have no checksums, and are read without.

    Args:
        run_folder: The folder of a run.

    Returns:
        Entries `{video, file, problem_set, descriptions: {label: text}}`, and the content of the file as `content`;
        empty if the run has no examples.

    Raises:
        DamagedFileError: If a file is damaged or missing; names it and the remedy.
    """
    listing = run_folder / "examples" / "examples.json"
    if not listing.is_file():
        return []
    content = listing.read_bytes()
    if content.startswith(b"["):  # version 1
        content = b'{"version": 1, "examples": ' + content + b"}"
    document = from_sealed_json(content, listing, version=_VERSION, sealed_since=2, remedy=_REMEDY)
    entries = document.get("examples")
    if not isinstance(entries, list) or not all(map(_is_example, entries)):
        wrong = [entry for entry in entries if not _is_example(entry)] if isinstance(entries, list) else [entries]
        raise DamagedFileError(
            f"{listing}: expected a list of {{video, file, problem_set, descriptions: {{label: text}}}} with plain "
            f"file names, got {str(wrong[0])[:200]}. {_REMEDY}"
        )
    videos = {entry["file"]: _read_video(listing.with_name(entry["file"]), entry.get("sha256")) for entry in entries}
    return [{**entry, "content": videos[entry["file"]]} for entry in entries]


def _read_video(path: Path, sha256: str | None) -> bytes:
    try:
        content = read_inside(path, path.parents[1])
    except FileNotFoundError:
        raise DamagedFileError(f"{path}, which examples.json names, does not exist. {_REMEDY}") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedFileError(f"{path} is damaged: its content does not match its checksum. {_REMEDY}")
    return content


def _is_example(entry: object) -> bool:
    """Tell whether an entry has all its texts, and a plain file name, which cannot lead out of the folder."""
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("video", "file", "problem_set"))
        and isinstance(entry.get("descriptions"), dict)
        and Path(entry["file"]).name == entry["file"]
    )


def _choose(index: ShardIndex) -> list[Sample]:
    """Samples in turns from every (environment, kind, level), each cell's own spread over its problem sets."""
    cell_of = {p.id: (p.kind, p.level, p.environment) for p in index.problem_sets}
    cells: dict[tuple[str, int, str], list[Sample]] = defaultdict(list)
    for sample in index.samples:
        cells[cell_of[sample.memberships[0].problem_set]].append(sample)
    # Every other cell first, so that few examples still span the levels of every kind.
    order = [cells[cell] for cell in sorted(cells)]
    order = order[::2] + order[1::2]
    rounds = max((len(cell) for cell in order), default=0)
    turns = [cell[(number * 7) % len(cell)] for number in range(rounds) for cell in order if number < len(cell)]
    return list(dict.fromkeys(turns))[:MAX_EXAMPLES]


def _small_video(members: dict[str, bytes]) -> bytes:
    """The sample as a small mp4 file."""
    if "mp4" in members:
        if len(members["mp4"]) <= _MAX_BYTES:
            return members["mp4"]
        frames = decode_video(members["mp4"], _SMALL).frames
    else:
        count = len(sample_description(members)["frame_indices"])
        pictures = [decode_jpeg(members[f"{number:03d}.jpg"]) for number in range(count)]
        check_same_size(picture.shape for picture in pictures)
        frames = torch.stack(pictures)
    height, width = (size - size % 2 for size in frames.shape[2:])
    return encode_mp4(frames[:, :, :height, :width].permute(0, 2, 3, 1).numpy(), fps=4, crf=28)
