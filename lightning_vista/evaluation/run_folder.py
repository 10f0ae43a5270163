"""The folder of a run: a journal while it runs, the score table at its end, transcripts and configuration beside it."""

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lightning_vista.evaluation.identity import arguments, class_path
from lightning_vista.evaluation.pairs import PairScores
from lightning_vista.evaluation.protocols import Scorer
from lightning_vista.files.own_files import line_checksum, named_error, write_whole
from lightning_vista.files.redaction import settings_without_secrets
from lightning_vista.files.run_files import sealed_config
from lightning_vista.vista.frame_order import CONTROLS, FORWARD
from lightning_vista.vista.index import sample_key
from lightning_vista.vista.problem_sets import ProblemSet, declared_kinds
from lightning_vista.vista.tables import TABLE_NAME, ScoreTable, read_scores, score_frame, write_scores

if TYPE_CHECKING:
    import polars as pl

TRANSCRIPTS = "transcripts"
#: Version of the journals; version 1 has no checksums, and its first line does not say a version.
_JOURNAL_VERSION = 2


class RunFolderError(ValueError):
    """A run folder that belongs to another configuration."""


class RunFolder:
    """The files of a run. Opened again after an interruption, it knows what has been scored.

    Each rank appends the scores of a video to its own journal as one line, so that a kill loses at most the videos
    of the moment. Each line begins with its checksum; videos of damaged lines are scored again, with a warning.
    `finish` joins the journals into `scores.parquet`.

    Args:
        path: The folder; created where needed.
        model: The name of the scorer.
        config_hash: The identity of the run, see `identity`.
        is_prediction: Whether the run is one of `predict`, whose scores come without targets.

    Attributes:
        scored: The pairs of every video that had been scored when the folder was opened.

    Raises:
        RunFolderError: If the folder holds scores of another scorer or configuration, or of `predict` instead of `test`
            or the reverse.
    """

    def __init__(self, path: str | Path, model: str, config_hash: str, is_prediction: bool = False) -> None:
        self.path = Path(path)
        self.model = model
        self.config_hash = config_hash
        self.is_prediction = is_prediction
        self.path.mkdir(parents=True, exist_ok=True)
        self.scored = self._read()

    @property
    def unscored(self) -> frozenset[str]:
        """Videos in `scored` of which a pair, of any order of the frames, lacks a score."""
        return frozenset(video for video, pairs in self.scored.items() if not all(pair.is_scored for pair in pairs))

    def with_earlier(self, pairs: Sequence[PairScores]) -> list[PairScores]:
        """Return the pairs of a video that is scored again, with the earlier scores of those that had been scored.

        So a pair has one score, whichever journal is read first, and a second attempt takes nothing away.

        Args:
            pairs: New pairs, of any videos.
        """
        earlier = {_key(pair): pair for video in {pair.video for pair in pairs} for pair in self.scored.get(video, ())}
        kept = {key: pair for key, pair in earlier.items() if pair.is_scored}
        return [kept.get(_key(pair), pair)._replace(transcript=pair.transcript) for pair in pairs]

    def append(self, pairs: Sequence[PairScores], rank: int) -> None:
        """Write the scores of some videos to the journal of a rank; all pairs of a video come together.

        Args:
            pairs: Every pair of each of the videos, those of the controls included.
            rank: The rank of this process.
        """
        videos: dict[str, list[PairScores]] = {}
        for pair in pairs:
            videos.setdefault(pair.video, []).append(pair)
        self._write_transcripts(videos)
        path = self._journal(rank)
        header = {"version": _JOURNAL_VERSION, "model": self.model, "config_hash": self.config_hash}
        try:
            with path.open("a", encoding="utf-8") as file:
                if file.tell() == 0:
                    file.write(_checked_line(header))
                for members in videos.values():
                    file.write(_checked_line([pair.to_json() for pair in members]))
        except OSError as error:
            raise named_error(error, path) from error

    def finish(
        self, problem_sets: Sequence[ProblemSet], planned: int | None = None, is_baseline: bool = False
    ) -> ScoreTable:
        """Join the scores of all ranks into `scores.parquet`; called on one rank, when all have ended.

        Args:
            problem_sets: The problem sets of the run, whose kinds and descriptions the table holds.
            planned: How many videos were to be scored; a table with fewer says that it is partial.
            is_baseline: Whether the scores were drawn at random.

        Returns:
            The table.
        """
        frames = self._frames()
        table = write_scores(
            frames.pop(FORWARD),
            self.path / TABLE_NAME,
            config_hash=self.config_hash,
            kinds=declared_kinds(problem_sets),
            planned=planned,
            controls=frames,
            problem_sets=problem_sets,
            is_baseline=is_baseline,
        )
        for journal in self._journals():
            journal.unlink()
        return table

    def write_config(self, scorer: Scorer) -> None:
        """Write `config.yaml` in LightningCLI's format, unless LightningCLI has written it.

        Args:
            scorer: The scorer.
        """
        path = self.path / "config.yaml"
        if path.exists() and path.stat().st_size:
            return
        settings = json.loads(json.dumps(arguments(scorer), default=str))
        model = {"class_path": class_path(scorer), "init_args": settings_without_secrets(settings)}
        write_whole(path, sealed_config(yaml.safe_dump({"model": model}, sort_keys=False, allow_unicode=True)))

    def _write_transcripts(self, videos: Mapping[str, Sequence[PairScores]]) -> None:
        """Write `transcripts/<key of the video>.txt` for videos with transcripts."""
        for video, pairs in videos.items():
            told = [pair for pair in pairs if pair.transcript is not None]
            if not told:
                continue
            parts = [f"Video: {video}"]
            for pair in told:
                outcome = "scored" if pair.reason is None else f"unscored: {pair.reason}"
                shown = "" if pair.order == FORWARD else f", frames {pair.order}"
                parts += [f"=== {pair.problem_set}{shown} ({outcome})", *([pair.transcript] if pair.transcript else [])]
            path = self.path / TRANSCRIPTS / f"{sample_key(video)}.txt"
            write_whole(path, "\n\n".join(parts) + "\n", sync=False)

    def _frames(self) -> dict[str, "pl.DataFrame"]:
        """Return the rows of the score table for each order of the frames, and drop the pairs, which are large."""
        self.scored = {}
        pairs = [pair for own in self._read().values() for pair in own]
        return {
            order: score_frame(
                (row for pair in pairs if pair.order == order for row in pair.rows(self.model)), self.path / TABLE_NAME
            )
            for order in (FORWARD, *CONTROLS)
            if order == FORWARD or any(pair.order == order for pair in pairs)
        }

    def _journal(self, rank: int) -> Path:
        return self.path / f".scores-{rank}.jsonl"

    def _journals(self) -> list[Path]:
        return sorted(self.path.glob(".scores-*.jsonl"))

    def _read(self) -> dict[str, list[PairScores]]:
        """Read the scores so far, by video: those of a finished table and of the journals of an interrupted run."""
        scored: dict[str, list[PairScores]] = {}
        if (self.path / TABLE_NAME).exists():
            table = read_scores(self.path)
            self._check(table.model, table.config_hash)
            self._check_stage(bool(table.rows["target"].null_count()))
            for pair in _pairs(table):
                scored.setdefault(pair.video, []).append(pair)
        for journal in self._journals():
            lines = _whole_lines(journal)
            header = next(lines, None)
            first = next(lines, None)
            if header is None or first is None:
                continue
            checked = self._check_header(journal, header)
            damaged = total = 0
            for line in chain([first], lines):
                total += 1
                # A journal that an earlier release began may have lines of both kinds.
                entries = _read_line(line, checked or not line.startswith("["))
                if entries is None:
                    damaged += 1
                    continue
                pairs = [PairScores.from_json(entry) for entry in entries]
                self._check_stage(pairs[0].targets is None)
                scored[pairs[0].video] = _merged(scored.get(pairs[0].video, ()), pairs)
            if damaged:
                warnings.warn(
                    f"{journal}: {damaged} of {total} lines are damaged. Their videos are scored again.",
                    stacklevel=2,
                )
        return scored

    def _check_header(self, journal: Path, header: str) -> bool:
        """Check whose scores a journal holds; return whether its lines have checksums."""
        content = _read_line(header, checked=not header.startswith("{"))
        if not isinstance(content, dict) or content.get("version", 1) not in (1, _JOURNAL_VERSION):
            raise RunFolderError(
                f"{journal}: expected the journal of a run, version {_JOURNAL_VERSION}, got a damaged first line. "
                "Remove the file; its videos are scored again."
            )
        self._check(str(content.get("model")), str(content.get("config_hash")))
        return "version" in content

    def _check_stage(self, is_prediction: bool) -> None:
        """Check whether scores are those of this stage: journals and tables of any release show it by their targets."""
        if is_prediction != self.is_prediction:
            got, expected = ("predict", "test") if is_prediction else ("test", "predict")
            raise RunFolderError(
                f"{self.path} holds scores of `{got}`, not of `{expected}`: one has true labels, the other none. Give "
                f"another `evaluation.run_dir` for `{expected}`, or remove the folder."
            )

    def _check(self, model: str, config_hash: str) -> None:
        if (model, config_hash) != (self.model, self.config_hash):
            raise RunFolderError(
                f"{self.path} holds scores of {model!r} (configuration {config_hash[:8]}), not of {self.model!r} "
                f"({self.config_hash[:8]}). Give another `evaluation.run_dir`, or remove the folder."
            )


def _key(pair: PairScores) -> tuple[str, str, str]:
    return pair.video, pair.problem_set, pair.order


def _merged(earlier: Iterable[PairScores], pairs: Iterable[PairScores]) -> list[PairScores]:
    """Return the pairs of one video from two lines; journals are not read in the order of time, so scored ones win."""
    found = {_key(pair): pair for pair in earlier}
    found |= {key: pair for pair in pairs if (key := _key(pair)) not in found or pair.is_scored}
    return list(found.values())


def _whole_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a journal; a last one that a kill has cut short is removed from the file."""
    # As bytes, at line feeds only: a damaged line may hold any other separator, or bytes that are not UTF-8.
    whole = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                os.truncate(path, whole)  # written anew, a kill could lose the whole lines too
                return
            whole += len(line)
            yield line[:-1].decode("utf-8", errors="replace")


def _checked_line(content: Any) -> str:
    """Return a line of a journal: checksum, space, JSON."""
    text = json.dumps(content)
    return f"{line_checksum(text)} {text}\n"


def _read_line(line: str, checked: bool) -> Any:
    """Return the content of a line of a journal; None if it is damaged."""
    checksum, _, text = line.partition(" ") if checked else ("", "", line)
    try:
        return json.loads(text) if not checked or checksum == line_checksum(text) else None
    except (ValueError, RecursionError):
        return None


def _pairs(table: ScoreTable) -> Iterable[PairScores]:
    """Yield the pairs of a score table, those of its controls included."""
    for order, shown in {FORWARD: table.rows, **table.controls}.items():
        for (problem_set, video), rows in shown.group_by("problem_set", "video", maintain_order=True):
            yield PairScores(
                str(problem_set),
                str(video),
                tuple(rows["label"]),
                tuple(math.nan if score is None else score for score in rows["score"]),
                None if rows["target"].null_count() else tuple(rows["target"]),
                rows["reason"][0],
                order=order,
            )
