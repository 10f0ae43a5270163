"""The base of chat scorers: the conversation, its transcript, and its scores."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from lightning_vista.evaluation import Scores
from lightning_vista.evaluation.progress_file import Progress
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
from lightning_vista.scorers.chat.frame_values import value_shuffled_frames
from lightning_vista.video.encoding import encode_jpeg
from lightning_vista.vista.batch import VideoBatch


class ConversationScorer(VLMScorer):
    """A scorer that questions a chat model (ViSTa, section 4); subclasses set `frame_spec` and write `hold`.

    Each `Scores` carries the transcript of its conversation.

    Args:
        mode: Course of the conversation. `stages` asks the paper's three questions: describe each frame; match the
            candidates' steps to these descriptions, without the frames; score. `single` asks all of them at once.
        jpeg_quality: JPEG quality of the frames that the model sees, 1 to 95.
        name: Name in tables and figures, see `VLMScorer`.

    Raises:
        ValueError: If the mode is unknown, or the quality is outside its range.
    """

    def __init__(self, mode: ChatMode, jpeg_quality: int, name: str) -> None:
        check_word("mode", mode, get_args(ChatMode))
        if not 1 <= jpeg_quality <= 95:
            raise ValueError(f"`jpeg_quality`: expected 1 to 95, got {jpeg_quality}.")
        super().__init__(name)
        self.mode: ChatMode = mode
        self.jpeg_quality = jpeg_quality

    @abstractmethod
    def hold(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """Hold conversations to their ends.

        Args:
            conversations: Conversations, one for each video and problem set.

        Returns:
            Verdicts, in the order of the conversations.
        """

    def fingerprint(self) -> str:
        """Return the hash of the prompts, on which scores depend."""
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

    def shuffled_progress(
        self, video: str | Path | bytes, description: str, points: int = 8, seed: int = 0
    ) -> Progress:
        """Ask for the progress at shuffled frames of a video file, see `value_shuffled_frames`."""
        return value_shuffled_frames(self.eval(), video, description, points, seed)

    def _frames(self, batch: VideoBatch) -> list[list[bytes]]:
        return [[encode_jpeg(frame, self.jpeg_quality) for frame in video] for video in batch.frames.cpu()]


def _scores(verdict: Verdict, candidates: int) -> Scores:
    values = [math.nan] * candidates if verdict.scores is None else verdict.scores
    return Scores(torch.tensor(values, dtype=torch.float64), verdict.reason, transcript(verdict))
