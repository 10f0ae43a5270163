"""Local image-text models as scorers (ViSTa, section 4)."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_vista.scorers.chat.chat_model import Message, Reply, Request
from lightning_vista.scorers.chat.conversation import ChatMode, Conversation, Verdict, in_rounds
from lightning_vista.scorers.chat.scorer import ConversationScorer
from lightning_vista.scorers.chat.thoughts import is_thought_mark, opened_at_end
from lightning_vista.scorers.image_text import FrameCost, FramesAs, frame_parts, load_image_text, process
from lightning_vista.scorers.pretrained import AutoDType, hash_part
from lightning_vista.video import FrameSpec
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.video.sampling import Sampling

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
        frames_as: Form of the frames: `video` (with the times of the frames, which some models write into the prompt),
            `images`, or `auto`: a video where the processor takes one and the times are known.
        request_batch_size: Number of requests that are answered at once; fewer need less memory.
        split_frames: Whether processors that cut pictures into tiles (Idefics3, SmolVLM, InternVL, ...) may cut frames.
            Each tile costs as much as a frame. Processors that always cut are named in a warning.
        name: Name in tables and figures; by default the checkpoint's name.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
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
        frames_as: FramesAs = "auto",
        request_batch_size: int = 4,
        split_frames: bool = False,
        name: str | None = None,
    ) -> None:
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
        self.split_frames = split_frames
        self.processor, self.model, self.frames_as = load_image_text(model, dtype, frames_as, split_frames)
        self._shown = False

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
        replies: dict[int, Reply] = {}
        # Apart, because processors pad requests of different numbers of pictures, or refuse to.
        kinds = [(request.images, request.messages[0].clock is None) for request in requests]
        for kind in dict.fromkeys(kinds):
            numbers = [number for number, each in enumerate(kinds) if each == kind]
            for begin in range(0, len(numbers), self.request_batch_size):
                chunk = numbers[begin : begin + self.request_batch_size]
                replies |= zip(chunk, self._answer_batch([requests[number] for number in chunk]), strict=True)
        return [replies[number] for number in range(len(requests))]

    def _answer_batch(self, requests: Sequence[Request]) -> list[Reply]:
        asked = [[chat_message(message, self.frames_as) for message in request.messages] for request in requests]
        inputs = process(self.processor, asked).to(self.model.device, dtype=self.model.dtype)
        self._show_cost(inputs, asked, sum(request.images for request in requests))
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

    def _show_cost(self, inputs: Any, asked: Sequence[Sequence[dict[str, Any]]], frames: int) -> None:
        """Show once what the processor makes of frames."""
        if frames and not self._shown:
            self._shown = True
            as_video = any(part["type"] == "video" for part in asked[0][0]["content"])
            FrameCost.of(self.model.config, inputs, frames, as_video).show(self.name, self.split_frames)


def chat_message(message: Message, frames_as: FramesAs) -> dict[str, Any]:
    """Return a message in the form that chat templates read.

    Args:
        message: Message of a conversation.
        frames_as: Form of its frames, see `frame_parts`.
    """
    pictures = frame_parts([decode_jpeg(image) for image in message.images], message.clock, frames_as)
    return {"role": message.role, "content": message.arranged({"type": "text", "text": message.text}, pictures)}


def _seed(seed: int, requests: Sequence[Request]) -> int:
    digest = hashlib.sha256(f"{seed} {requests!r}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
