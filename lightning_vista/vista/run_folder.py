"""The folder that an evaluation writes: a journal while it runs, the score table at its end."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_vista.vista.tables import TABLE_NAME, ScoreTable, read_scores, write_scores


class RunFolderError(ValueError):
    """A run folder that belongs to another configuration."""


@dataclass(frozen=True)
class PairScores:
    """The scores of one video in one problem set.

    Attributes:
        problem_set: The id of the problem set.
        video: The video's path.
        labels: The label ids of the candidates.
        scores: One for each candidate; NaN where it is unscored.
        targets: Which candidates are true; None for predictions.
        reason: Why it is unscored, if it is.
    """

    problem_set: str
    video: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    targets: tuple[bool, ...] | None
    reason: str | None = None

    def rows(self, model: str) -> Iterator[dict[str, object]]:
        """The rows of the score table, one per candidate."""
        targets: Sequence[bool | None] = self.targets or [None] * len(self.labels)
        for label, score, target in zip(self.labels, self.scores, targets, strict=True):
            yield {
                "model": model,
                "problem_set": self.problem_set,
                "video": self.video,
                "label": label,
                "score": None if math.isnan(score) else score,
                "target": target,
                "reason": self.reason,
            }


class RunFolder:
    """Where an evaluation writes; opened again after an interruption, it knows what has been scored.

    Each rank appends the scores of a video to its own journal as one line, so that a kill loses at most the videos
    of the moment. `finish` joins the journals into `scores.parquet`.

    Args:
        path: The folder; it is made where needed.
        model: The name of the scorer.
        config_hash: The hash of its configuration.

    Raises:
        RunFolderError: If the folder holds scores of another scorer or configuration.
    """

    def __init__(self, path: str | Path, model: str, config_hash: str) -> None:
        self.path = Path(path)
        self.model = model
        self.config_hash = config_hash
        self.path.mkdir(parents=True, exist_ok=True)
        self.scored = self._read()

    def append(self, pairs: Sequence[PairScores], rank: int) -> None:
        """Write the scores of some videos to the journal of a rank; all pairs of a video come together."""
        videos: dict[str, list[PairScores]] = {}
        for pair in pairs:
            videos.setdefault(pair.video, []).append(pair)
        path = self._journal(rank)
        with path.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(json.dumps({"model": self.model, "config_hash": self.config_hash}) + "\n")
            for members in videos.values():
                file.write(json.dumps([vars(pair) for pair in members]) + "\n")

    def finish(self, kinds: Mapping[str, str]) -> ScoreTable:
        """Join what all ranks have scored into `scores.parquet`; called on one rank, when all have ended.

        Args:
            kinds: The kinds that problem sets declare themselves, see `declared_kinds`.

        Returns:
            The table.
        """
        self.scored = self._read()
        rows = [row for pairs in self.scored.values() for pair in pairs for row in pair.rows(self.model)]
        table = write_scores(rows, self.path / TABLE_NAME, config_hash=self.config_hash, kinds=kinds)
        for journal in self._journals():
            journal.unlink()
        return table

    def _journal(self, rank: int) -> Path:
        return self.path / f".scores-{rank}.jsonl"

    def _journals(self) -> list[Path]:
        return sorted(self.path.glob(".scores-*.jsonl"))

    def _read(self) -> dict[str, list[PairScores]]:
        """What has been scored, by video: a finished table and the journals of an interrupted run."""
        scored: dict[str, list[PairScores]] = {}
        if (self.path / TABLE_NAME).exists():
            table = read_scores(self.path)
            self._check(table.model, table.config_hash)
            for pair in _pairs(table):
                scored.setdefault(pair.video, []).append(pair)
        for journal in self._journals():
            header, *lines = _whole_lines(journal) or ["{}"]
            self._check(**json.loads(header)) if lines else None
            for line in lines:
                pairs = [_pair_from_json(entry) for entry in json.loads(line)]
                scored[pairs[0].video] = pairs
        return scored

    def _check(self, model: str, config_hash: str) -> None:
        if (model, config_hash) != (self.model, self.config_hash):
            raise RunFolderError(
                f"{self.path} holds scores of {model!r} (configuration {config_hash[:8]}), not of {self.model!r} "
                f"({self.config_hash[:8]}): give another run_dir, or remove the folder."
            )


def _whole_lines(path: Path) -> list[str]:
    """The lines of a journal; a last one that a kill has cut short is removed from the file."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return whole.decode("utf-8").splitlines()


def _pair_from_json(entry: Mapping[str, Any]) -> PairScores:
    """The pair that `dataclasses.asdict` and JSON made this of."""
    targets = entry["targets"]
    lists = {"labels": tuple(entry["labels"]), "scores": tuple(entry["scores"])}
    return PairScores(**{**entry, **lists, "targets": None if targets is None else tuple(targets)})


def _pairs(table: ScoreTable) -> Iterable[PairScores]:
    """The pairs of a score table."""
    for (problem_set, video), rows in table.rows.group_by("problem_set", "video", maintain_order=True):
        yield PairScores(
            str(problem_set),
            str(video),
            tuple(rows["label"]),
            tuple(math.nan if score is None else score for score in rows["score"]),
            None if rows["target"].null_count() else tuple(rows["target"]),
            rows["reason"][0],
        )
