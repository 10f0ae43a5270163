"""The base of chat scorers: the conversation, its transcript, and its scores."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_vista.evaluation import Scores
from lightning_vista.evaluation.progress_file import Progress
from lightning_vista.options import check_word
from lightning_vista.scorers.base import VLMScorer, evaluation_mode
from lightning_vista.scorers.chat.conversation import ChatMode, Conversation, Verdict, prompts_hash, transcript
from lightning_vista.scorers.chat.frame_values import value_shuffled_frames
from lightning_vista.scorers.chat.questions import LogprobMode, start_conversation
from lightning_vista.video import FrameClock
from lightning_vista.video.encoding import encode_jpegs
from lightning_vista.vista.batch import VideoBatch


class ConversationScorer(VLMScorer):
    """A scorer that questions a chat model (ViSTa, section 4); subclasses set `frame_spec` and write `hold`.

    Each `Scores` carries the transcript of its conversation.

    Args:
        mode: Course of the conversation. `stages` asks the paper's three questions: describe each frame; match the
            candidates' steps to these descriptions, without the frames; score. `single` asks all of them at once. See
            `start_conversation` for those that read log-probabilities.
        jpeg_quality: JPEG quality of the frames that the model sees, 1 to 95.
        name: Name in tables and figures, see `VLMScorer`.

    Raises:
        ValueError: If the mode is unknown, or the quality is outside its range.

    Attributes:
        modes: Courses that the scorer can take.
        expected_answer: Answer that the course `likelihood` reads.
    """

    modes: tuple[str, ...] = get_args(ChatMode)
    expected_answer = "Yes"

    def __init__(self, mode: ChatMode | LogprobMode, jpeg_quality: int, name: str) -> None:
        check_word("mode", mode, self.modes)
        if not 1 <= jpeg_quality <= 95:
            raise ValueError(f"`jpeg_quality`: expected 1 to 95, got {jpeg_quality}.")
        super().__init__(name)
        self.mode: ChatMode | LogprobMode = mode
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
            start_conversation(self.mode, frames, candidates, clock, self.expected_answer)
            for frames, clock, sets in zip(self._frames(batch), frame_clocks(batch), batch.candidates, strict=True)
            for candidates in sets
        ]
        verdicts = iter(self.hold(conversations))
        return [[_scores(next(verdicts), len(candidates.labels)) for candidates in sets] for sets in batch.candidates]

    def shuffled_progress(
        self, video: str | Path | bytes, description: str, points: int = 8, seed: int = 0
    ) -> Progress:
        """Ask for the progress at shuffled frames of a video file, see `value_shuffled_frames`."""
        with evaluation_mode(self):
            return value_shuffled_frames(self, video, description, points, seed)

    def _frames(self, batch: VideoBatch) -> Sequence[Sequence[bytes]]:
        if batch.jpegs is not None:  # from the datamodule's workers
            return batch.jpegs
        return [LazyFiles(video, self.jpeg_quality) for video in batch.frames.cpu()]


class LazyFiles(Sequence[bytes]):
    """Frames of a video as JPEG files, encoded when first needed: so requests about other videos run meanwhile.

    Args:
        frames: RGB frames `(frames, 3, height, width)`, uint8, on the CPU.
        quality: JPEG quality, 1 to 95.

    Example:
        >>> len(LazyFiles(torch.zeros(2, 3, 8, 16, dtype=torch.uint8), 90))
        2
    """

    def __init__(self, frames: Tensor, quality: int) -> None:
        self._frames, self._quality = frames, quality
        self._files: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: Any) -> Any:
        if self._files is None:
            self._files = encode_jpegs(self._frames, self._quality)
        return self._files[index]


def frame_clocks(batch: VideoBatch) -> list[FrameClock | None]:
    """Return the clock of each video's frames, None where their times are unknown."""
    return [FrameClock.of(*positions) for positions in zip(batch.frame_indices, batch.times, strict=True)]


def _scores(verdict: Verdict, candidates: int) -> Scores:
    values = [math.nan] * candidates if verdict.scores is None else verdict.scores
    return Scores(torch.tensor(values, dtype=torch.float64), verdict.reason, transcript(verdict))
