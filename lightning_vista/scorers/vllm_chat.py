"""Local image-text models in vLLM, in this process, as scorers (ViSTa, section 4)."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_vista.optional import require
from lightning_vista.options import check_counts
from lightning_vista.scorers.chat.chat_model import ChatModel, Reply, Request
from lightning_vista.scorers.chat.conversation import ChatMode, Conversation, Verdict, in_rounds
from lightning_vista.scorers.chat.provider import data_url
from lightning_vista.scorers.chat.scorer import ConversationScorer
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling


class VLLMChatScorer(ConversationScorer):
    """A scorer that asks an image-text model for scores from 0 to 5, in vLLM's engine within this process.

    The conversation is that of `ChatScorer`. All requests of a batch of videos are handed over at once, and vLLM
    decides which run together; so large batches are fast, and a reply may depend on the others in its last digits. For
    a server of vLLM use `ChatScorer`.

    Args:
        model: Hub id or local folder of a checkpoint that vLLM supports.
        mode: Course of the conversation: `stages` (the paper's three questions) or `single` (all of them at once).
        num_frames: Number of frames of each video, also the engine's limit of images in a request.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own size.
        jpeg_quality: JPEG quality of the frames that the model sees, 1 to 95.
        temperature: Sampling temperature; 0 takes the most likely tokens.
        seed: Random seed for replies with a temperature; each request gets its own, derived from this one.
        max_tokens: Maximum length of a reply; for reasoning models it covers the thoughts.
        engine: Further arguments of `vllm.LLM`, such as `{dtype: bfloat16, max_model_len: 32768,
            tensor_parallel_size: 2, gpu_memory_utilization: 0.9}`.
        name: Name in tables and figures; by default the checkpoint's name.

    Raises:
        ModuleNotFoundError: If vLLM is not installed, which none of the extras does: its builds depend on the GPU.
        ValueError: If an argument is outside its range, or `engine` repeats one of them.

    Example:
        >>> VLLMChatScorer("Qwen/Qwen3-VL-8B-Instruct").name  # doctest: +SKIP
        'Qwen3-VL-8B-Instruct'
    """

    def __init__(
        self,
        model: str,
        mode: ChatMode = "stages",
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 384,
        jpeg_quality: int = 95,
        temperature: float = 0.0,
        seed: int = 0,
        max_tokens: int = 2048,
        engine: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        check_counts(max_tokens=max_tokens)
        if temperature < 0:
            raise ValueError(f"`temperature`: expected at least 0, got {temperature}.")
        if repeated := {"model", "seed", "limit_mm_per_prompt", "trust_remote_code"} & {*(engine or {})}:
            raise ValueError(f"`engine`: expected arguments that are not set elsewhere, got {sorted(repeated)}.")
        super().__init__(mode, jpeg_quality, name or Path(model).name)
        self.frame_spec = FrameSpec(num_frames, sampling, size, jpeg_quality=jpeg_quality)
        self.temperature, self.seed, self.max_tokens = temperature, seed, max_tokens
        self.chat = ChatModel(model)
        try:
            self._vllm: Any = require("vllm", extra="vlm")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "VLLMChatScorer needs vLLM, which is not installed and in none of the extras, since its builds depend "
                "on the GPU. Install it as its documentation says (`pip install vllm`), or use LocalChatScorer.",
                name=error.name,
            ) from error
        self._engine = self._vllm.LLM(
            model=model,
            seed=seed,
            limit_mm_per_prompt={"image": num_frames},
            trust_remote_code=False,
            **(engine or {}),
        )

    def fingerprint(self) -> str:
        """Return the hash of the prompts, vLLM's version, and the hash of a local checkpoint's files."""
        digest = hashlib.sha256()
        folder = Path(self.chat.model)
        # vLLM keeps the weights to itself, so they cannot be hashed as those of other scorers are.
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file():
                digest.update(f"\n{path.relative_to(folder).as_posix()}\n".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return f"{super().fingerprint()} vllm {self._vllm.__version__} {digest.hexdigest()}"

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
        messages = [self.chat.body(request, data_url)["messages"] for request in requests]
        outputs = self._engine.chat(messages, [self._sampling(request) for request in requests], use_tqdm=False)
        return [_reply(output.outputs[0]) for output in outputs]

    def _sampling(self, request: Request) -> Any:
        own = hashlib.sha256(f"{self.seed} {request!r}".encode()).digest()
        seed = int.from_bytes(own[:4], "little") if self.temperature else None
        return self._vllm.SamplingParams(temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)


def _reply(completion: Any) -> Reply:
    return Reply(completion.text, "length" if completion.finish_reason == "length" else "stop")
