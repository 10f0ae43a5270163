"""What chat judges have in common: the conversation, its transcript, and scores out of it."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import get_args

import torch

from lightning_vista.evaluation import Scores
from lightning_vista.options import check_word
from lightning_vista.scorers.base import VLMScorer
from lightning_vista.scorers.chat.conversation import (
    ChatMode,
    Conversation,
    Verdict,
    converse,
    prompts_hash,
    transcript,
)
from lightning_vista.video.encoding import encode_jpeg
from lightning_vista.vista.batch import VideoBatch


class ConversationScorer(VLMScorer):
    """A judge that is asked in words (ViSTa, section 4); subclasses set `frame_spec` and write `hold`.

    Each `Scores` carries the transcript of its conversation.

    Args:
        mode: `stages` asks the paper's three questions: describe each frame; match the steps of the candidates to
            the descriptions, without the frames; score. `single` asks for all of it at once.
        jpeg_quality: Of the images that it is shown, 1 to 95.
        name: See `VLMScorer`.

    Raises:
        ValueError: If the mode is unknown or the quality outside its range.
    """

    def __init__(self, mode: ChatMode, jpeg_quality: int, name: str) -> None:
        check_word("mode", mode, get_args(ChatMode))
        if not 1 <= jpeg_quality <= 95:
            raise ValueError(f"jpeg_quality: expected 1 to 95, got {jpeg_quality}.")
        super().__init__(name)
        self.mode: ChatMode = mode
        self.jpeg_quality = jpeg_quality

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

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Hold a conversation about each video and problem set."""
        conversations = [
            converse(self.mode, frames, candidates)
            for frames, sets in zip(self._frames(batch), batch.candidates, strict=True)
            for candidates in sets
        ]
        verdicts = iter(self.hold(conversations))
        return [[_scores(next(verdicts), len(candidates.labels)) for candidates in sets] for sets in batch.candidates]

    def _frames(self, batch: VideoBatch) -> list[list[bytes]]:
        return [[encode_jpeg(frame, self.jpeg_quality) for frame in video] for video in batch.frames.cpu()]


def _scores(verdict: Verdict, candidates: int) -> Scores:
    values = [math.nan] * candidates if verdict.scores is None else verdict.scores
    return Scores(torch.tensor(values, dtype=torch.float64), verdict.reason, transcript(verdict))
