"""GPT-4o and every other chat model behind an OpenAI-compatible endpoint as judges (ViSTa, section 4)."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_vista.metrics import Rescaling
from lightning_vista.scorers.chat.budget import image_tokens
from lightning_vista.scorers.chat.chat_model import DEFAULT_ENDPOINT, ChatModel, Detail
from lightning_vista.scorers.chat.conversation import Conversation, Mode, Verdict
from lightning_vista.scorers.chat.endpoint import Endpoint, EndpointError
from lightning_vista.scorers.chat.event_loop import EventLoopThread
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.scorers.chat.plan import plan
from lightning_vista.scorers.chat.reply_cache import ReplyCache
from lightning_vista.scorers.chat.scorer import ConversationScorer
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling
from lightning_vista.vista.batch import Candidates

OnFailure = Literal["raise", "unscored"]


class ChatScorer(ConversationScorer):
    """Asks a chat model behind an OpenAI-compatible endpoint for a score from 0 to 5.

    Every reply goes into a cache before it is used, so a run that was killed, or stopped by its limits, goes on with
    the same command and asks nothing twice. A reply that cannot be used is asked for once more; then the pair is
    unscored, with the reason `parse_error`, `refusal` or `truncated`.

    Args:
        model: The model's name at the endpoint.
        base_url: The address of the endpoint, up to `/v1`.
        key_variable: The environment variable that holds the key; the key itself is never written anywhere.
        mode: `stages`, the paper's three questions, or `single`.
        num_frames: How many frames of each video; the paper shows 16.
        sampling: Which frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own.
        detail: How closely the model looks at them: `low` (a price for each image), `high` (for each tile) or `auto`.
        jpeg_quality: Of the frames as they are sent, 1 to 95.
        json_schema: Whether `single` holds the reply to a JSON schema; not every endpoint can.
        temperature: 0.7 in the paper; None leaves it to the model.
        seed: For endpoints that can repeat themselves; None sends none.
        max_tokens: The longest reply, sent as `max_completion_tokens`; None leaves it to the model.
        parameters: Further fields of every request, such as `{reasoning_effort: low}`.
        repeat: Another number asks everything anew, beside what is in the cache.
        limits: How fast and how much may be asked.
        on_failure: For a request that the endpoint does not answer, `raise` or `unscored` to go on without it.
        dry_run: Only print how much would be asked.
        cache: The file of the replies, which runs may share; `replies.sqlite` in the run folder by default.
        name: See `VLMScorer`; the model's name by default.
        run_dir: See `VLMScorer`.
        rescaling: See `VLMScorer`.
        strict: See `VLMScorer`.

    Raises:
        ValueError: If an argument is outside the ranges above; while it runs, a `BudgetError` if the limits are
            reached.
        EndpointError: While it runs, if the endpoint does not answer.

    Example:
        >>> ChatScorer("gpt-4o", limits=Limits(max_requests=1000)).name
        'gpt-4o'
    """

    def __init__(
        self,
        model: str,
        base_url: str = DEFAULT_ENDPOINT,
        key_variable: str = "OPENAI_API_KEY",
        mode: Mode = "stages",
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 512,
        detail: Detail = "auto",
        jpeg_quality: int = 90,
        json_schema: bool = True,
        temperature: float | None = 0.7,
        seed: int | None = None,
        max_tokens: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        repeat: int = 0,
        limits: Limits | None = None,
        on_failure: OnFailure = "raise",
        dry_run: bool = False,
        cache: str | None = None,
        name: str | None = None,
        run_dir: str | None = None,
        rescaling: Rescaling = "both",
        strict: bool = True,
    ) -> None:
        for argument, value, allowed in (("detail", detail, Detail), ("on_failure", on_failure, OnFailure)):
            if value not in get_args(allowed):
                raise ValueError(f"{argument}: expected one of {', '.join(get_args(allowed))}, got {value!r}.")
        super().__init__(mode, jpeg_quality, name or Path(model).name, run_dir, rescaling, strict)
        self.frame_spec = FrameSpec(num_frames, sampling, size)
        # These change no reply: a run may go on with other ones.
        for key in ("key_variable", "limits", "on_failure", "dry_run", "cache"):
            self.hparams.pop(key, None)
        given = {"temperature": temperature, "seed": seed, "max_completion_tokens": max_tokens}
        sent = {key: value for key, value in given.items() if value is not None} | dict(parameters or {})
        self.chat = ChatModel(model, base_url.rstrip("/"), detail, json_schema, sent, repeat)
        self.key_variable, self.limits, self.on_failure = key_variable, limits or Limits(), on_failure
        self.dry_run, self.cache = dry_run, cache

    @property
    def run_path(self) -> Path:
        """The folder that `test` writes; a dry run leaves that of the real one alone."""
        path = super().run_path
        return path.with_name(f"{path.name}-dry-run") if self.dry_run else path

    def setup(self, stage: str) -> None:
        """Open the cache and the connections; of a dry run, say what would be asked and skip the rest."""
        if self.dry_run:
            print(f"{self.name} would send {self._plan()}.")
            self.trainer.limit_test_batches = self.trainer.limit_predict_batches = 0
            return
        super().setup(stage)
        cache = ReplyCache(self.cache or self.run_path / "replies.sqlite")
        self._endpoint = Endpoint(self.chat, self.key_variable, self.limits, cache, self._tokens_per_image)
        self._loop = EventLoopThread()

    def teardown(self, stage: str) -> None:
        """Close the cache and the connections."""
        super().teardown(stage)
        if not self.dry_run:
            self._close()

    def hold(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """Hold all conversations side by side."""
        try:
            return self._loop.run(self._hold_all(conversations))
        except BaseException:
            self._close()  # Lightning tears nothing down after an error
            raise

    def _close(self) -> None:
        self._loop.run(self._endpoint.close())
        self._loop.close()

    async def _hold_all(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        # Where one fails the others go on to their ends: what is under way has been paid for.
        results = await asyncio.gather(*map(self._hold_one, conversations), return_exceptions=True)
        verdicts = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            verdicts.append(result)
        return verdicts

    async def _hold_one(self, conversation: Conversation) -> Verdict:
        request = next(conversation)
        while True:
            try:
                reply = await self._endpoint.answer(request)
            except EndpointError:
                if self.on_failure == "raise":
                    raise
                return Verdict(None, "endpoint_error")
            try:
                request = conversation.send(reply)
            except StopIteration as end:
                verdict: Verdict = end.value
                return verdict

    @property
    def _tokens_per_image(self) -> int:
        return image_tokens(*(self.frame_spec.height_width or (512, 512)), self.chat.detail)

    def _plan(self) -> str:
        index = self._datamodule.index()
        candidates = {problem_set.id: Candidates.of(problem_set) for problem_set in index.problem_sets}
        videos = (
            (sample.video, [candidates[membership.problem_set] for membership in sample.memberships])
            for sample in index.samples
        )
        return plan(self.mode, self.frame_spec.num_frames, self._tokens_per_image, videos).summary(self.limits)
