"""What chat judges have in common: the conversation, its transcript, and scores out of it."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from lightning_vista.metrics import Rescaling
from lightning_vista.scorers.base import VLMScorer
from lightning_vista.scorers.chat.conversation import Conversation, Mode, Verdict, converse
from lightning_vista.scorers.chat.templates import prompts_hash
from lightning_vista.scorers.chat.transcript import transcript
from lightning_vista.scorers.pairs import Scores
from lightning_vista.video.jpeg import encode_jpeg
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.tar import sample_key

TRANSCRIPTS = "transcripts"


class ConversationScorer(VLMScorer):
    """A judge that is asked in words (ViSTa, section 4); subclasses set `frame_spec` and write `hold`.

    `test` leaves the words of every video in the run folder, in `transcripts/<key of the video>.txt`.

    Args:
        mode: `stages` asks the paper's three questions: describe each frame; match the steps of the candidates to
            the descriptions, without the frames; score. `single` asks for all of it at once.
        jpeg_quality: Of the images that it is shown, 1 to 95.
        name: See `VLMScorer`.
        run_dir: See `VLMScorer`.
        rescaling: See `VLMScorer`.
        strict: See `VLMScorer`.

    Raises:
        ValueError: If the mode is unknown or the quality outside its range.
    """

    def __init__(
        self,
        mode: Mode,
        jpeg_quality: int,
        name: str,
        run_dir: str | None,
        rescaling: Rescaling,
        strict: bool,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode: expected one of {', '.join(get_args(Mode))}, got {mode!r}.")
        if not 1 <= jpeg_quality <= 95:
            raise ValueError(f"jpeg_quality: expected 1 to 95, got {jpeg_quality}.")
        super().__init__(name, run_dir, rescaling, strict)
        self.mode: Mode = mode
        self.jpeg_quality = jpeg_quality
        self._transcripts: Path | None = None

    @abstractmethod
    def hold(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """Hold conversations to their ends.

        Args:
            conversations: One for each video and problem set.

        Returns:
            The verdict of each.
        """

    def fingerprint(self) -> str:
        """The hash of the prompts."""
        return prompts_hash()

    def setup(self, stage: str) -> None:
        """Make room for the transcripts."""
        super().setup(stage)
        self._transcripts = self.run.path / TRANSCRIPTS if stage == "test" else None
        if self._transcripts is not None:
            self._transcripts.mkdir(exist_ok=True)

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Hold a conversation about each video and problem set."""
        conversations = [
            converse(self.mode, frames, candidates)
            for frames, sets in zip(self._frames(batch), batch.candidates, strict=True)
            for candidates in sets
        ]
        verdicts = iter(self.hold(conversations))
        grouped = [[next(verdicts) for _ in sets] for sets in batch.candidates]
        if self._transcripts is not None:
            self._write_transcripts(self._transcripts, batch, grouped)
        return [
            [_scores(verdict, len(candidates.labels)) for verdict, candidates in zip(group, sets, strict=True)]
            for group, sets in zip(grouped, batch.candidates, strict=True)
        ]

    def _frames(self, batch: VideoBatch) -> list[list[bytes]]:
        return [[encode_jpeg(frame, self.jpeg_quality) for frame in video] for video in batch.frames.cpu()]

    def _write_transcripts(self, folder: Path, batch: VideoBatch, grouped: Sequence[Sequence[Verdict]]) -> None:
        for question, verdicts in zip(batch.questions, grouped, strict=True):
            ids = (candidates.problem_set for candidates in question.candidates)
            text = transcript(question.video, zip(ids, verdicts, strict=True))
            (folder / f"{sample_key(question.video)}.txt").write_text(text, encoding="utf-8")


def _scores(verdict: Verdict, candidates: int) -> Scores:
    values = [math.nan] * candidates if verdict.scores is None else verdict.scores
    return Scores(torch.tensor(values, dtype=torch.float64), verdict.reason)
