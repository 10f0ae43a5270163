"""X-CLIP as a scorer: a CLIP for videos, whose descriptions are adapted to each video (arXiv:2208.02816)."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.scorers.embedding import EmbeddingScorer
from lightning_vista.scorers.preprocessing import STATISTICS, authors_preprocessing
from lightning_vista.scorers.pretrained import AutoDType, hash_part, load_frozen_model, load_pretrained
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling

_EXPECTED = (
    "Expected the id of an X-CLIP on the Hugging Face hub, where that can be reached, or a local folder with one in "
    "transformers' format."
)


class XCLIPScorer(EmbeddingScorer):
    """A scorer by the cosine of a whole video with a description that X-CLIP has adapted to the video.

    Frames are squeezed to a square with bicubic interpolation and normalised with ImageNet's statistics. A video's
    embedding holds its vector and the mean features of its patches, to which the descriptions attend.

    Args:
        model: Hub id or local folder of a checkpoint in transformers' format.
        dtype: Type of the weights; `auto` keeps the checkpoint's. Embeddings are float32 in any case.
        sampling: Rule that chooses the frames, see `sample_indices`; their number is the checkpoint's.
        name: Name in tables and figures; by default the checkpoint's name.
        cache_dir: Folder for embeddings of videos, see `EmbeddingScorer`.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
        ValueError: If the checkpoint is another kind of model or lacks weights, or `dtype` is unknown.

    Example:
        >>> scorer = XCLIPScorer("microsoft/xclip-base-patch16")  # doctest: +SKIP
        >>> scorer.name, scorer.frame_spec.num_frames  # doctest: +SKIP
        ('xclip-base-patch16', 8)
    """

    def __init__(
        self,
        model: str,
        dtype: AutoDType = "float32",
        sampling: Sampling = "uniform",
        name: str | None = None,
        cache_dir: str | None = None,
    ) -> None:
        check_word("dtype", dtype, get_args(AutoDType))
        super().__init__(name or Path(model).absolute().name, cache_dir=cache_dir)
        transformers = require("transformers", extra="vlm")
        config, _ = load_pretrained(transformers.PreTrainedConfig.get_config_dict, model, _EXPECTED)
        if config.get("model_type") != "xclip":
            raise ValueError(f"`model`: expected model_type 'xclip', got {model!r} of {config.get('model_type')!r}.")
        self.model = load_frozen_model(transformers.XCLIPModel.from_pretrained, model, _EXPECTED, dtype)
        self.tokenizer = load_pretrained(transformers.AutoTokenizer.from_pretrained, model, _EXPECTED)
        vision = self.model.config.vision_config
        frames = FrameSpec(vision.num_frames, sampling)
        self.preprocessing = authors_preprocessing(frames, vision.image_size, *STATISTICS["imagenet"])
        self.frame_spec = self.preprocessing.frame_spec

    def fingerprint(self) -> str:
        """Describe the preprocessing of frames, and hash the tokenizer."""
        return f"{self.preprocessing.describe()} {hash_part(self.tokenizer)}"

    def embed_videos(self, frames: Tensor) -> Tensor:
        """Return embeddings `(batch, (1 + patches) * dim)`, float32: a vector, and the features of the patches."""
        batch, num_frames = frames.shape[:2]
        output = self.model.get_video_features(self.preprocessing.normalize(frames).to(self.model.dtype))
        whole: Tensor = output.pooler_output
        patches = self.model.prompts_visual_layernorm(output.last_hidden_state[:, 1:])
        patches = (patches @ self.model.prompts_visual_projection).unflatten(0, (batch, num_frames)).mean(dim=1)
        return torch.cat([whole[:, None], patches], dim=1).flatten(1).float()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings `(texts, dim)`, float32, of any length; long texts are truncated and counted."""
        limit = int(self.model.config.text_config.max_position_embeddings)
        lengths = [len(tokens) for tokens in self.tokenizer(list(texts), verbose=False)["input_ids"]]
        self.count_truncated(texts, lengths, limit)
        encoded = self.tokenizer(
            list(texts),
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        ).to(self.device)
        # With the mask, although the causal one hides padding at the right anyway: the model pools where it ends.
        features: Tensor = self.model.get_text_features(**encoded).pooler_output
        return features.float()

    def products(self, texts: Tensor, video: Tensor) -> Tensor:
        """Return the cosines of a video with descriptions adapted to it, `(texts,)`."""
        dim = texts.shape[-1]
        whole, patches = video[:dim], video[dim:].unflatten(0, (-1, dim))
        dtype = self.model.dtype
        prompts = self.model.prompts_generator(texts[None].to(dtype), patches[None].to(dtype))[0]
        return normalize(texts + prompts.float(), dim=-1) @ normalize(whole, dim=-1)
