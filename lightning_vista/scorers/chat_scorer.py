"""GPT-4o and other chat models behind an endpoint as scorers (ViSTa, section 4)."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning_vista.options import check_word
from lightning_vista.scorers.chat.budget import image_tokens, plan
from lightning_vista.scorers.chat.chat_model import HOMES, ChatModel, Detail, ProviderName, SentAs
from lightning_vista.scorers.chat.conversation import ChatMode, Conversation, Verdict
from lightning_vista.scorers.chat.endpoint import PROVIDERS, Endpoint, EndpointError, EventLoopThread, NoLogprobsError
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.scorers.chat.questions import LogprobMode, MissingLogprobsError
from lightning_vista.scorers.chat.reply_cache import ReplyCache
from lightning_vista.scorers.chat.scorer import ConversationScorer
from lightning_vista.video import FrameSpec
from lightning_vista.video.sampling import Sampling
from lightning_vista.vista.batch import Candidates
from lightning_vista.vista.index import ShardIndex

OnFailure = Literal["raise", "unscored"]
#: Temperature of the paper's GPT-4o.
_PAPERS = 0.7
#: Number of first tokens whose log-probabilities are requested: the most that OpenAI and vLLM give.
_LISTED = 20


class ChatScorer(ConversationScorer):
    """A scorer that asks a chat model behind an endpoint for scores.

    These are numbers from 0 to 5 that the model writes, or what the log-probabilities of its first token say.

    Every reply is cached before it is used. So a run that was killed, or stopped by its limits, resumes with the same
    command and asks nothing twice. An unusable reply is requested once more; if that fails, the pair is unscored with
    the reason `parse_error`, `refusal` or `truncated`. A log-probability that the endpoint does not list is not guessed
    either: the reason is `not_listed`.

    Args:
        model: Name of the model at the endpoint.
        base_url: Address of the endpoint, for OpenAI's format up to `/v1`; by default the provider's own.
        key_variable: Name of the environment variable that holds the key. By default the provider's own endpoint gets
            `OPENAI_API_KEY`, `ANTHROPIC_API_KEY` or `GEMINI_API_KEY`, and any other `base_url` no key. The key itself
            is never written to a file.
        mode: Course of the conversation: `stages` (the paper's three questions) or `single` (all of them at once).
            Three more need an endpoint that gives `logprobs`, such as vLLM, gpt-4o and gpt-4.1. `likelihood`: the score
            is log P(`answer`) to the question whether a candidate fits. `choice`: log P(letter), with the candidates
            lettered in one question. `expected`: the mean of 0 to 5, weighted by the probabilities of these tokens.
        answer: Answer that `likelihood` reads, one token: `Yes`, `True` or another.
        frames_as: Form of the frames: `images`, or `video` for one mp4 (a `video_url` part, which vLLM and a few others
            take) at the frames' mean rate.
        num_frames: Number of frames of each video; 16 in the paper.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own size.
        detail: Resolution at which the model sees a frame: `low` (a flat price per image), `high` (a price per tile) or
            `auto`.
        jpeg_quality: JPEG quality of the frames that the model sees, 1 to 95.
        json_schema: Whether `single` constrains the reply to a JSON schema, which not every endpoint supports.
        temperature: Sampling temperature, 0.7 in the paper; None leaves it to the model. Modes that read
            log-probabilities sample nothing and send 1, so that the distribution is the model's own.
        seed: Random seed for endpoints that support one; None omits it.
        max_tokens: Maximum length of a reply with its thoughts, `max_completion_tokens` in OpenAI's format; None
            leaves it to the model, which Anthropic's format does not permit. Modes that read log-probabilities send 1.
        parameters: Further fields of every request, such as `{reasoning_effort: low}`.
        repeat: Number of the repetition; a new number requests all replies again, and the cache keeps both.
        limits: Limits on the speed, number and cost of requests.
        on_failure: Treatment of a request that the endpoint does not answer: `raise`, or `unscored` to continue; the
            same command scores these videos again.
        cache: File of the replies, which runs may share; by default `replies.sqlite` in the run folder. Required
            outside a run.
        name: Name in tables and figures; by default the model's name.
        provider: Format that the endpoint reads: `openai` (also OpenRouter, vLLM and ollama), `anthropic` or `gemini`.

    Raises:
        ValueError: If an argument is outside the ranges above; while scoring, a `BudgetError` if a limit is reached.
        EndpointError: While scoring, if the endpoint does not answer; a `NoLogprobsError` if the mode needs
            log-probabilities and the endpoint gives none.

    Example:
        >>> ChatScorer("gpt-4o", limits=Limits(max_requests=1000)).name
        'gpt-4o'
    """

    modes = get_args(ChatMode) + get_args(LogprobMode)

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        key_variable: str | None = None,
        mode: ChatMode | LogprobMode = "stages",
        answer: str = "Yes",
        frames_as: SentAs = "images",
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 512,
        detail: Detail = "auto",
        jpeg_quality: int = 90,
        json_schema: bool = True,
        temperature: float | None = _PAPERS,
        seed: int | None = None,
        max_tokens: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        repeat: int = 0,
        limits: Limits | None = None,
        on_failure: OnFailure = "raise",
        cache: str | None = None,
        name: str | None = None,
        provider: ProviderName = "openai",
    ) -> None:
        check_word("on_failure", on_failure, get_args(OnFailure))
        super().__init__(mode, jpeg_quality, name or Path(model).name)
        self.frame_spec = FrameSpec(num_frames, sampling, size, jpeg_quality=jpeg_quality)
        # These do not change replies, so a run may resume with other values.
        for key in ("key_variable", "limits", "on_failure", "cache"):
            self.hparams.pop(key, None)
        self.expected_answer = _checked_answer(mode, answer)
        given: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_completion_tokens": max_tokens}
        if mode in get_args(LogprobMode):
            given |= _one_token(mode, temperature, max_tokens)
        sent = {key: value for key, value in given.items() if value is not None} | dict(parameters or {})
        self.chat = ChatModel(model, base_url or "", detail, json_schema, sent, repeat, frames_as, provider)
        PROVIDERS[provider].check(self.chat)
        # A key of the provider is for the provider: another address gets one only by name.
        self.key_variable = key_variable or (HOMES[provider][1] if self.chat.is_default_endpoint else None)
        self.limits, self.on_failure = limits or Limits(), on_failure
        self.cache = cache
        self._connection: tuple[Endpoint, EventLoopThread] | None = None

    def fingerprint(self) -> str:
        """Return the hash of the prompts, and of the address where it is not shown whole."""
        return " ".join([super().fingerprint(), *self.chat.hidden_address().values()])

    def teardown(self, stage: str) -> None:
        """Close the cache and the connections."""
        self.close()

    def close(self) -> None:
        """Close the cache and the connections; the next question opens them again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            endpoint, loop = connection
            try:
                loop.run(endpoint.close())
            finally:
                loop.close()

    def hold(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        """Hold all conversations concurrently."""
        endpoint, loop = self._connection = self._connection or self._connect()
        try:
            return loop.run(self._hold_all(endpoint, conversations))
        except BaseException:
            self.close()  # Lightning does not call `teardown` after an error
            raise

    def facts(self) -> dict[str, str]:
        """Return the requests so far and, where prices are known, their cost."""
        if self._connection is None:
            return {}
        budget = self._connection[0].budget
        cost = {"cost": f"${budget.spent:,.2f}"} if self.limits.input_price + self.limits.output_price else {}
        return {"requests": f"{budget.used.requests:,}", **cost}

    def plan(self, index: ShardIndex, orders: int = 1) -> str:
        """Describe how many requests, images and tokens an evaluation would send in all orders, and its cost."""
        candidates = {problem_set.id: Candidates.of(problem_set) for problem_set in index.problem_sets}
        videos = (
            (sample.video, [candidates[membership.problem_set] for membership in sample.memberships])
            for sample in index.samples
        )
        planned = plan(self.mode, self.frame_spec.num_frames, self._tokens_per_image, videos)
        every_order = f" for {orders} orders of frames" if orders > 1 else ""
        return f"send {planned.repeated(orders).summary(self.limits)}{every_order}"

    def _connect(self) -> tuple[Endpoint, EventLoopThread]:
        """Open the cache and the connections."""
        if self.cache is None and self.workspace is None:
            raise ValueError(
                f"`cache`: expected a file for the replies, got None. Replies cost money, so {self.name} keeps them. "
                'Outside of `test` and `predict`, give a file such as cache="replies.sqlite".'
            )
        cache = ReplyCache(self.cache or Path(str(self.workspace), "replies.sqlite"))
        try:
            endpoint = Endpoint(self.chat, self.key_variable, self.limits, cache, self._tokens_per_image)
        except BaseException:
            cache.close()  # such as after a missing key
            raise
        return endpoint, EventLoopThread()

    async def _hold_all(self, endpoint: Endpoint, conversations: Sequence[Conversation]) -> list[Verdict]:
        """Hold the conversations concurrently, and raise the first failure once all of them have ended."""
        # Not a TaskGroup, which would cancel the others at the first failure: their requests have been paid for.
        # Twice as many are open as requests may run, so that frames are encoded while earlier requests are answered.
        places = asyncio.Semaphore(2 * self.limits.concurrency)

        async def hold_in_turn(conversation: Conversation) -> Verdict:
            async with places:
                return await self._hold_one(endpoint, conversation)

        held = (hold_in_turn(conversation) for conversation in conversations)
        results = await asyncio.gather(*held, return_exceptions=True)
        verdicts = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            verdicts.append(result)
        return verdicts

    async def _hold_one(self, endpoint: Endpoint, conversation: Conversation) -> Verdict:
        request = next(conversation)
        while True:
            try:
                reply = await endpoint.answer(request)
            except NoLogprobsError:
                raise  # no video will be scored
            except EndpointError:
                if self.on_failure == "raise":
                    raise
                return Verdict(None, "endpoint_error")
            try:
                request = conversation.send(reply)
            except MissingLogprobsError:
                raise NoLogprobsError.of(self.chat) from None
            except StopIteration as end:
                verdict: Verdict = end.value
                return verdict

    @property
    def _tokens_per_image(self) -> int:
        return image_tokens(*(self.frame_spec.height_width or (512, 512)), self.chat.detail)


def _checked_answer(mode: str, answer: str) -> str:
    """Return the answer, unless the mode does not read one."""
    if len(answer.split()) != 1 or (mode != "likelihood" and answer != "Yes"):
        raise ValueError(
            f"`answer`: expected one word, in mode 'likelihood' only, got {answer!r} in mode {mode!r}. "
            "Leave it out, or set `mode` to 'likelihood'."
        )
    return answer.strip()


def _one_token(mode: str, temperature: float | None, max_tokens: int | None) -> dict[str, Any]:
    """Return the fields of requests whose replies are one token with its alternatives."""
    if temperature not in (None, 1.0, _PAPERS) or max_tokens not in (None, 1):
        raise ValueError(
            f"`temperature`, `max_tokens`: expected none in mode {mode!r}, which reads the log-probabilities of one "
            f"token, got {temperature} and {max_tokens}. Leave them out."
        )
    sent = None if temperature is None else 1.0
    return {"temperature": sent, "max_completion_tokens": 1, "logprobs": True, "top_logprobs": _LISTED}
