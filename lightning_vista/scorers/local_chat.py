"""Local image-text models as scorers (ViSTa, section 4)."""

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image

from lightning_vista.optional import require
from lightning_vista.options import check_word
from lightning_vista.scorers.chat.chat_model import Message, Reply, Request
from lightning_vista.scorers.chat.conversation import ChatMode, Conversation, Verdict, in_rounds
from lightning_vista.scorers.chat.scorer import ConversationScorer
from lightning_vista.scorers.chat.thoughts import is_thought_mark, opened_at_end
from lightning_vista.scorers.pretrained import AutoDType, hash_part, load_frozen_model, load_pretrained
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling

_EXPECTED = (
    "Expected the id of a checkpoint on the Hugging Face hub, where that can be reached, or a local folder with an "
    "image-text model and its processor in transformers' format."
)

#: Number of tokens at the end of a prompt in which a chat template may begin a thought.
_END = 16


class LocalChatScorer(ConversationScorer):
    """A scorer that asks a local image-text model in transformers' format for scores from 0 to 5.

    The conversation is that of `ChatScorer`. A reply does not depend on the other requests of its batch: it is greedy,
    or, with a temperature, sampled alone with a seed derived from `seed` and the request.

    Args:
        model: Hub id or local folder of a checkpoint that `AutoModelForImageTextToText` reads.
        dtype: Type of the weights; `auto` keeps the checkpoint's.
        mode: Course of the conversation: `stages` (the paper's three questions) or `single` (all of them at once).
        num_frames: Number of frames of each video.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own size.
        jpeg_quality: JPEG quality of the frames that the model sees, 1 to 95.
        temperature: Sampling temperature; 0 takes the most likely tokens.
        seed: Random seed for replies with a temperature.
        max_tokens: Maximum length of a reply.
        request_batch_size: Number of requests that are answered at once; fewer need less memory.
        split_frames: Whether processors that cut pictures into tiles (Idefics3, SmolVLM, InternVL, ...) may cut frames.
            Each tile costs as much as a frame. Processors that always cut are named in a warning.
        name: Name in tables and figures; by default the checkpoint's name.

    Raises:
        FileNotFoundError: If there is no such checkpoint, or the hub cannot be reached.
        ValueError: If the checkpoint is not an image-text model or lacks weights, or another argument is outside its
            range.

    Example:
        >>> LocalChatScorer("Qwen/Qwen3-VL-2B-Instruct", num_frames=8).name  # doctest: +SKIP
        'Qwen3-VL-2B-Instruct'
    """

    def __init__(
        self,
        model: str,
        dtype: AutoDType = "auto",
        mode: ChatMode = "stages",
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 384,
        jpeg_quality: int = 95,
        temperature: float = 0.0,
        seed: int = 0,
        max_tokens: int = 1024,
        request_batch_size: int = 4,
        split_frames: bool = False,
        name: str | None = None,
    ) -> None:
        check_word("dtype", dtype, get_args(AutoDType))
        for key, value, least in (
            ("temperature", temperature, 0),
            ("max_tokens", max_tokens, 1),
            ("request_batch_size", request_batch_size, 1),
        ):
            if value < least:
                raise ValueError(f"`{key}`: expected at least {least}, got {value}.")
        super().__init__(mode, jpeg_quality, name or Path(model).absolute().name)
        self.frame_spec = FrameSpec(num_frames, sampling, size)
        self.hparams.pop("request_batch_size")  # changes speed, not the scores
        self.temperature, self.seed = temperature, seed
        self.max_tokens = max_tokens
        self.request_batch_size = 1 if temperature else request_batch_size
        transformers = require("transformers", extra="vlm")
        _check_type(transformers, model)
        self.processor = load_pretrained(transformers.AutoProcessor.from_pretrained, model, _EXPECTED)
        for switch in ("do_image_splitting", "crop_to_patches"):
            if hasattr(self.processor.image_processor, switch):
                setattr(self.processor.image_processor, switch, split_frames)
        self._warns_of_tiles = not split_frames
        self.processor.tokenizer.padding_side = "left"  # replies begin where requests end
        if self.processor.tokenizer.pad_token is None:
            self.processor.tokenizer.pad_token = self.processor.tokenizer.eos_token
        self.model = load_frozen_model(
            transformers.AutoModelForImageTextToText.from_pretrained, model, _EXPECTED, dtype
        )

    def fingerprint(self) -> str:
        """Return the hash of the prompts, the processor with its chat template, and the settings of generation."""
        settings = json.dumps(self.model.generation_config.to_dict(), sort_keys=True, default=str)
        return f"{super().fingerprint()} {hash_part(self.processor)} {settings} text before images"

    def hold(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """Hold the conversations concurrently, question by question."""
        return in_rounds(conversations, self.answer)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the model's replies.

        Args:
            requests: Any number of requests.

        Returns:
            Replies, in the order of the requests.
        """
        chunks = (requests[i : i + self.request_batch_size] for i in range(0, len(requests), self.request_batch_size))
        return [reply for chunk in chunks for reply in self._answer_batch(chunk)]

    def _answer_batch(self, requests: Sequence[Request]) -> list[Reply]:
        inputs = self.processor.apply_chat_template(
            [[_content(message) for message in request.messages] for request in requests],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.model.device, dtype=self.model.dtype)
        self._warn_of_tiles(inputs, [request.images for request in requests])
        begun = [opened_at_end(text) for text in self.processor.tokenizer.batch_decode(inputs["input_ids"][:, -_END:])]
        drawing = {"temperature": self.temperature} if self.temperature else {}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(_seed(self.seed, requests))
            tokens = self.model.generate(**inputs, **drawing, do_sample=bool(drawing), max_new_tokens=self.max_tokens)
        replies = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._reply(row, thought) for row, thought in zip(replies, begun, strict=True)]

    def _reply(self, tokens: list[int], thought: str) -> Reply:
        """Return the text of a reply, which continues the thought that the chat template may have begun."""
        ends = self.model.generation_config.eos_token_id
        ended = any(token in (ends if isinstance(ends, list) else [ends]) for token in tokens)
        # By hand, since `skip_special_tokens` may remove the marks of thoughts, but never the thoughts.
        known = self.processor.tokenizer.added_tokens_decoder
        silent = {id for id, token in known.items() if token.special and not is_thought_mark(token.content)}
        text = self.processor.tokenizer.decode([token for token in tokens if token not in silent])
        return Reply(thought + text, "stop" if ended else "length")

    def _warn_of_tiles(self, inputs: Any, frames: Sequence[int]) -> None:
        """Warn once if the processor makes several pictures of a frame."""
        pixels = inputs.get("pixel_values")
        # Requests of different numbers of frames are padded with pictures of nothing.
        if not self._warns_of_tiles or pixels is None or pixels.ndim < 4 or len({*frames}) > 1:
            return
        self._warns_of_tiles = False
        tiles = pixels.shape[:-3].numel() / sum(frames)
        if tiles > 1:
            warnings.warn(
                f"{self.name}: the processor makes {tiles:g} pictures of each frame, so a request costs about "
                f"{tiles:g} times as much as `num_frames` says. Set split_frames=True to accept that.",
                stacklevel=2,
            )


def _check_type(transformers: Any, model: str) -> None:
    """Check that a checkpoint is an image-text model, and that the packages of its processor are installed."""
    config, _ = load_pretrained(transformers.PreTrainedConfig.get_config_dict, model, _EXPECTED)
    kind = config.get("model_type")
    known = transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if kind not in known:
        raise ValueError(
            f"`model`: expected an image-text model that chats, such as Qwen/Qwen3-VL-2B-Instruct, got {model!r} of "
            f"model_type {kind!r}." + (" Use CLIPScorer for it." if kind in ("clip", "siglip") else "")
        )
    if kind == "smolvlm":
        require("num2words", extra="vlm")


def _content(message: Message) -> dict[str, Any]:
    """Return a message in the form that chat templates read."""
    return {"role": message.role, "content": [_part(part) for part in message.parts()]}


def _part(part: str | bytes) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "image": Image.open(io.BytesIO(part)).convert("RGB")}


def _seed(seed: int, requests: Sequence[Request]) -> int:
    digest = hashlib.sha256(f"{seed} {requests!r}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
