"""Qwen3-VL-Reranker as a scorer: the log-odds of "yes" to whether a description fits a video (arXiv:2601.04720)."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from lightning_vista.evaluation import Scores
from lightning_vista.scorers.base import finite_scores
from lightning_vista.scorers.image_text import FramesAs
from lightning_vista.scorers.likelihood import LikelihoodScorer, Query
from lightning_vista.scorers.pretrained import AutoDType
from lightning_vista.video import FrameClock
from lightning_vista.video.sampling import Sampling
from lightning_vista.vista.batch import Candidates

#: The prompt that the reranker was trained with. Frames are the query and come first, so that candidates share them.
_TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "{%% for message in messages %%}<|im_start|>{{ message['role'] }}\n"
    "{%% if message['role'] == 'user' %%}<Instruct>: {{ %r }}<Query>:{%% endif %%}"
    "{%% for part in message['content'] %%}"
    "{%% if part['type'] == 'image' %%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%% elif part['type'] == 'video' %%}<|vision_start|><|video_pad|><|vision_end|>"
    "{%% else %%}{{ part['text'] }}{%% endif %%}{%% endfor %%}"
    "<|im_end|>\n{%% endfor %%}{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)


class QwenRerankerScorer(LikelihoodScorer):
    """A scorer by log P(yes) - log P(no), read from Qwen3-VL-Reranker, with the video as the query.

    The sigmoid of a score is the relevance that the model's authors report.

    Args:
        model: Hub id or local folder of a checkpoint in transformers' format.
        dtype: Type of the weights; `auto` keeps the checkpoint's.
        instruction: Instruction of the prompt, in English.
        num_frames: Number of frames of each video.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own size.
        frames_as: Form of the frames, see `LikelihoodScorer`.
        candidate_batch_size: Number of candidates that are read at once after the frames; fewer need less memory.
        name: Name in tables and figures; by default the checkpoint's name.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
        ValueError: If the checkpoint is not an image-text model, or another argument is outside its range.

    Example:
        >>> QwenRerankerScorer("Qwen/Qwen3-VL-Reranker-2B").name  # doctest: +SKIP
        'Qwen3-VL-Reranker-2B'
    """

    def __init__(
        self,
        model: str,
        dtype: AutoDType = "auto",
        instruction: str = "Given a search query, retrieve relevant candidates that answer the query.",
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 384,
        frames_as: FramesAs = "auto",
        candidate_batch_size: int = 8,
        name: str | None = None,
    ) -> None:
        super().__init__(
            model,
            dtype,
            num_frames=num_frames,
            sampling=sampling,
            size=size,
            frames_as=frames_as,
            candidate_batch_size=candidate_batch_size,
            name=name,
        )
        self.processor.chat_template = _TEMPLATE % instruction

    def _queries(self, num_frames: int, candidates: Candidates) -> list[Query]:
        texts = [f"\n<Document>:{' '.join(text.split())}" for text in candidates.descriptions]
        return [(text, answer) for text in texts for answer in ("yes", "no")]

    def _score_video(self, frames: Tensor, clock: FrameClock | None, sets: Sequence[Candidates]) -> list[Scores]:
        asked = [self._queries(len(frames), candidates) for candidates in sets]
        values = self._log_probabilities(frames, clock, list(dict.fromkeys(chain.from_iterable(asked))))
        rows = [torch.tensor([values[query] for query in queries], dtype=torch.float64) for queries in asked]
        return [finite_scores(row[0::2] - row[1::2]) for row in rows]
