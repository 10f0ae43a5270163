"""Qwen3-VL-Embedding as a scorer: an image-text model whose last token's state is the embedding (arXiv:2601.04720)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.optional import require
from lightning_vista.options import check_counts, check_word
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.scorers.image_text import FramesAs, frame_parts, process, takes_video
from lightning_vista.scorers.pretrained import AutoDType, hash_part, load_frozen_model, load_pretrained
from lightning_vista.video import FrameClock, FrameSpec
from lightning_vista.video.sampling import Sampling

_EXPECTED = (
    "Expected the id of a Qwen3-VL-Embedding on the Hugging Face hub, where that can be reached, or a local folder "
    "with one in transformers' format."
)
#: The instruction of its authors for inputs without a task.
USUAL = "Represent the user's input."


class QwenEmbeddingScorer(EmbeddingScorer):
    """A scorer by the cosine of a video with a description in the space of Qwen3-VL-Embedding.

    Both pass through the model as the user's message, after an instruction as the system's. The embedding is the last
    hidden state of the last token, where the assistant's words would begin, at unit length.

    Args:
        model: Hub id or local folder of a checkpoint in transformers' format.
        dtype: Type of the weights; `auto` keeps the checkpoint's. Embeddings are float32 in any case.
        num_frames: Number of frames of each video.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own size.
        frames_as: Form of the frames: `video` (with their times, which are written into the prompt), `images`, or
            `auto`: a video where the times are known.
        video_instruction: Instruction for videos.
        text_instruction: Instruction for descriptions, such as "Retrieve videos that match the user's query.".
        text_batch_size: Number of descriptions that pass through the model at once; fewer need less memory.
        name: Name in tables and figures; by default the checkpoint's name.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
        ValueError: If the checkpoint is another kind of model or lacks weights, or another argument is outside its
            range.

    Example:
        >>> QwenEmbeddingScorer("Qwen/Qwen3-VL-Embedding-2B").name  # doctest: +SKIP
        'Qwen3-VL-Embedding-2B'
    """

    reads_times = True

    def __init__(
        self,
        model: str,
        dtype: AutoDType = "auto",
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 384,
        frames_as: FramesAs = "auto",
        video_instruction: str = USUAL,
        text_instruction: str = USUAL,
        text_batch_size: int = 32,
        name: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        check_word("dtype", dtype, get_args(AutoDType))
        check_word("frames_as", frames_as, get_args(FramesAs))
        check_counts(text_batch_size=text_batch_size)
        super().__init__(name or Path(model).absolute().name, FrameSpec(num_frames, sampling, size), cache_dir)
        self.hparams.pop("text_batch_size")  # changes speed, not the scores
        self.frames_as: FramesAs = frames_as
        self.video_instruction, self.text_instruction = video_instruction, text_instruction
        self.text_batch_size = text_batch_size
        transformers = require("transformers", extra="vlm")
        config, _ = load_pretrained(transformers.PreTrainedConfig.get_config_dict, model, _EXPECTED)
        if config.get("model_type") != "qwen3_vl":
            raise ValueError(f"`model`: expected model_type 'qwen3_vl', got {model!r} of {config.get('model_type')!r}.")
        self.processor = load_pretrained(transformers.AutoProcessor.from_pretrained, model, _EXPECTED)
        self.processor.tokenizer.padding_side = "left"  # so that the last token is the last of each row
        if not takes_video(self.processor):
            raise ValueError(f"`model`: expected a chat template with videos, got {model!r} without one.")
        # Without the head that predicts words, which an embedding does not need.
        self.model = load_frozen_model(transformers.AutoModel.from_pretrained, model, _EXPECTED, dtype)

    def fingerprint(self) -> str:
        """Hash the processor with its chat template."""
        return hash_part(self.processor)

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Return unit-length embeddings `(batch, dim)`, float32, of videos whose times are unknown."""
        return self.embed_timed_videos(frames, [None] * len(frames))

    def embed_timed_videos(self, frames: Tensor, clocks: Sequence[FrameClock | None]) -> Tensor:
        """Return unit-length embeddings `(batch, dim)`, float32, one video after the other."""
        parts = [frame_parts(video, clock, self.frames_as) for video, clock in zip(frames.cpu(), clocks, strict=True)]
        return torch.cat([self._embed([_talk(self.video_instruction, each)]) for each in parts])

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit-length embeddings `(texts, dim)`, float32."""
        talks = [_talk(self.text_instruction, [{"type": "text", "text": text}]) for text in texts]
        step = self.text_batch_size
        return torch.cat([self._embed(talks[start : start + step]) for start in range(0, len(talks), step)])

    @torch.no_grad()
    def _embed(self, talks: Sequence[list[dict[str, Any]]]) -> Tensor:
        inputs = process(self.processor, talks).to(self.device, dtype=self.model.dtype)
        states: Tensor = self.model(**inputs, use_cache=False).last_hidden_state
        return normalize(states[:, -1].float(), dim=-1)


def _talk(instruction: str, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    system = {"role": "system", "content": [{"type": "text", "text": instruction}]}
    return [system, {"role": "user", "content": content}]
