"""Likelihoods of answers, read from local image-text models, as scores (as VQAScore and TOPReward do)."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from lightning_vista.evaluation import Scores
from lightning_vista.options import check_counts, check_word
from lightning_vista.scorers.base import VLMScorer, finite_scores
from lightning_vista.scorers.chat.conversation import prompts_hash
from lightning_vista.scorers.chat.questions import LETTERS, choice_question, claim_question
from lightning_vista.scorers.chat.scorer import frame_clocks
from lightning_vista.scorers.chat.thoughts import opened_at_end
from lightning_vista.scorers.image_text import FrameCost, FramesAs, frame_parts, load_image_text, process
from lightning_vista.scorers.prefix import answer_log_probabilities, shared_length
from lightning_vista.scorers.pretrained import AutoDType, hash_part
from lightning_vista.video import FrameClock, FrameSpec
from lightning_vista.video.sampling import Sampling
from lightning_vista.vista.batch import Candidates, VideoBatch

QuestionForm = Literal["claim", "choice"]
#: Words of a question, and the answer whose likelihood is wanted.
Query: TypeAlias = tuple[str, str]


class LikelihoodScorer(VLMScorer):
    """A scorer that reads from a local image-text model how likely an answer is.

    The score is log P(answer | video, question), the sum over the answer's tokens of natural logarithms, so at most 0.
    Log-softmax is computed in float32. The tokens that the questions about a video share, with all of its frames, pass
    through the model once. The first video of a run is scored without this sharing too, and a difference is an error.
    A problem set's hint and example are not used: they are about describing frames. A video or candidate whose
    log-probability is not finite is unscored with the reason `not_finite`.

    Args:
        model: Hub id or local folder of a checkpoint that `AutoModelForImageTextToText` reads. Its chat template must
            not begin a thought, so give an instruct checkpoint.
        dtype: Type of the weights; `auto` keeps the checkpoint's.
        question: `claim` asks about each candidate by itself whether it fits. `choice` lists all candidates of a
            problem set as A, B, C and so on, at most 26, and scores their letters.
        answer: Answer to `claim` that stands for a good fit: `Yes`, `True` or another, also of several tokens.
        subtract_prior: Whether to subtract the log-probability of the same answer to the same question without frames.
            Scores are then logarithms of ratios, which may be above 0.
        normalise: Whether to normalise over the candidates of a problem set: the scores of a video are then logarithms
            of shares that sum to 1.
        num_frames: Number of frames of each video.
        sampling: Rule that chooses the frames, see `sample_indices`.
        size: Height and width of the frames in pixels; None keeps the video's own size.
        frames_as: Form of the frames: `video` (with the times of the frames, which some models write into the prompt),
            `images`, or `auto`: a video where the processor takes one and the times are known.
        split_frames: Whether processors that cut pictures into tiles may cut frames, see `LocalChatScorer`.
        candidate_batch_size: Number of candidates that are read at once after the frames; fewer need less memory.
        name: Name in tables and figures; by default the checkpoint's name.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or the hub cannot be reached.
        ValueError: If the checkpoint is not an image-text model with a chat template, or another argument is outside
            its range; while scoring, if the model does not read from left to right.

    Example:
        >>> LikelihoodScorer("Qwen/Qwen3-VL-2B-Instruct", num_frames=8).name  # doctest: +SKIP
        'Qwen3-VL-2B-Instruct'
    """

    def __init__(
        self,
        model: str,
        dtype: AutoDType = "auto",
        question: QuestionForm = "claim",
        answer: str = "Yes",
        subtract_prior: bool = False,
        normalise: bool = False,
        num_frames: int = 16,
        sampling: Sampling = "uniform",
        size: int | None = 384,
        frames_as: FramesAs = "auto",
        split_frames: bool = False,
        candidate_batch_size: int = 8,
        name: str | None = None,
    ) -> None:
        check_word("question", question, get_args(QuestionForm))
        check_counts(candidate_batch_size=candidate_batch_size)
        if not answer.strip() or (question == "choice" and answer != "Yes"):
            raise ValueError(
                f"`answer`: expected words, for question 'claim' only, got {answer!r} for {question!r}. Leave it out."
            )
        super().__init__(name or Path(model).absolute().name)
        self.frame_spec = FrameSpec(num_frames, sampling, size)
        self.hparams.pop("candidate_batch_size")  # changes speed, not the scores
        self.question, self.answer = question, answer.strip()
        self.subtract_prior, self.normalise = subtract_prior, normalise
        self.split_frames, self.candidate_batch_size = split_frames, candidate_batch_size
        self.processor, self.model, self.frames_as = load_image_text(model, dtype, frames_as, split_frames)
        if getattr(self.processor, "chat_template", None) is None:
            raise ValueError(f"`model`: expected a checkpoint with a chat template, got {model!r} without one.")
        self._priors: dict[Query, float] = {}
        self._checked = False

    def setup(self, stage: str) -> None:
        """Forget what an earlier run, possibly of another precision, computed."""
        self._priors, self._checked = {}, False

    def fingerprint(self) -> str:
        """Return the hash of the prompts and of the processor with its chat template."""
        return f"{prompts_hash()} {hash_part(self.processor)}"

    @torch.no_grad()
    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        """Compute the log-probabilities of the candidates of each video."""
        videos = zip(batch.frames.cpu(), frame_clocks(batch), batch.candidates, strict=True)
        return [self._score_video(frames, clock, sets) for frames, clock, sets in videos]

    def _score_video(self, frames: Tensor, clock: FrameClock | None, sets: Sequence[Candidates]) -> list[Scores]:
        if not sets:
            return []
        asked = [self._queries(len(frames), candidates) for candidates in sets]
        distinct = list(dict.fromkeys(chain.from_iterable(asked)))
        values = self._log_probabilities(frames, clock, distinct)
        if self.subtract_prior:
            priors = self._log_priors(distinct)
            values = {query: value - priors[query] for query, value in values.items()}
        rows = [torch.tensor([values[query] for query in queries], dtype=torch.float64) for queries in asked]
        return [finite_scores(row.log_softmax(0) if self.normalise else row) for row in rows]

    def _queries(self, num_frames: int, candidates: Candidates) -> list[Query]:
        if self.question == "choice":
            text = choice_question(num_frames, candidates.descriptions)
            return [(text, letter) for letter in LETTERS[: len(candidates.labels)]]
        return [(claim_question(num_frames, text, self.answer), self.answer) for text in candidates.descriptions]

    def _log_priors(self, queries: Sequence[Query]) -> dict[Query, float]:
        """Return log-probabilities without frames, each computed once a run."""
        if new := [query for query in queries if query not in self._priors]:
            self._priors |= self._log_probabilities(torch.empty(0), None, new)
        return self._priors

    def _log_probabilities(
        self, frames: Tensor, clock: FrameClock | None, queries: Sequence[Query]
    ) -> dict[Query, float]:
        """Return the log-probability of each query's answer."""
        parts = frame_parts(frames, clock, self.frames_as)
        prompts = encode_queries(self.processor, parts, queries)
        inputs = prompts.inputs.to(self.model.device, dtype=self.model.dtype)
        values = answer_log_probabilities(
            self.model, inputs, prompts.sequences, prompts.starts, self.candidate_batch_size
        )
        if len(frames) and not self._checked:
            self._checked = True
            FrameCost.of(self.model.config, inputs, len(frames), parts[0]["type"] == "video").show(
                self.name, self.split_frames
            )
            self._check(parts, queries[-1], prompts.sequences[-1], float(values[-1]))
        return dict(zip(queries, values.tolist(), strict=True))

    def _check(self, parts: Sequence[dict[str, Any]], query: Query, sequence: Sequence[int], value: float) -> None:
        """Compare a score with one whole pass of the model over frames, question and answer, for a model never met."""
        whole = encode_queries(self.processor, parts, [query])
        inputs = whole.inputs.to(self.model.device, dtype=self.model.dtype)
        expected = whole_log_probability(self.model, inputs, whole.sequences[0], whole.starts[0])
        exact = self.model.dtype in (torch.float32, torch.float64)
        exact = exact and not torch.is_autocast_enabled(self.model.device.type)
        tolerance = 1e-3 if exact else 0.3
        if whole.sequences[0] != list(sequence) or abs(expected - value) > tolerance + 0.01 * abs(expected):
            raise ValueError(
                f"`model`: expected one that reads from left to right, so that candidates can share the frames, got "
                f"{self.name}, whose log-probability is {value:.4f} with sharing and {expected:.4f} without. Use "
                "LocalChatScorer for it."
            )


class Prompts(NamedTuple):
    """Encoded queries about one video.

    Attributes:
        inputs: The model's inputs for the first prompt, without its answer.
        sequences: Ids of each prompt with its answer.
        starts: Position of the answer's first token in each.
    """

    inputs: Any
    sequences: list[list[int]]
    starts: list[int]


def encode_queries(processor: Any, parts: Sequence[dict[str, Any]], queries: Sequence[Query]) -> Prompts:
    """Encode questions about one video, whose frames are processed once.

    Args:
        processor: Processor of transformers with a chat template.
        parts: Frames, see `frame_parts`; none for questions about nothing.
        queries: Questions with their answers, which begin alike.

    Returns:
        Tokens exactly as if each query were processed by itself.

    Raises:
        ValueError: If the chat template begins a thought, whose first token is not an answer.
    """
    template = {"enable_thinking": False} if "enable_thinking" in str(processor.chat_template) else {}
    talks = [[{"role": "user", "content": [*parts, {"type": "text", "text": text}]}] for text, _ in queries]
    inputs = process(processor, talks[:1], **template)
    first = inputs["input_ids"][0].tolist()
    ends = [_end(processor, talk, answer, template) for talk, (_, answer) in zip(talks, queries, strict=True)]
    if opened_at_end(ends[0][0]):
        raise ValueError("`model`: expected an instruct checkpoint, got one whose chat template begins a thought.")
    tokenize = processor.tokenizer
    prompts = [tokenize(prompt, add_special_tokens=False)["input_ids"] for prompt, _ in ends]
    wholes = [tokenize(prompt + answer, add_special_tokens=False)["input_ids"] for prompt, answer in ends]
    # Where the end of the first prompt by itself is cut into the same tokens as within the whole prompt. Before it, its
    # first words may be cut differently. All ends begin with the same words, so that this holds for each of them.
    same = shared_length([first[::-1], prompts[0][::-1]])
    kept = len(prompts[0]) - same
    if kept >= shared_length([*prompts, *wholes]):
        if len(queries) == 1:
            raise ValueError(f"`answer`: expected one that can be told from the prompt, got {queries[0][1]!r}.")
        separate = [encode_queries(processor, parts, [query]) for query in queries]
        return Prompts(inputs, [each.sequences[0] for each in separate], [each.starts[0] for each in separate])
    before = first[: len(first) - same]
    starts = [len(before) - kept + shared_length([*pair]) for pair in zip(prompts, wholes, strict=True)]
    return Prompts(inputs, [before + whole[kept:] for whole in wholes], starts)


def _end(processor: Any, talk: Sequence[dict[str, Any]], answer: str, template: Mapping[str, Any]) -> tuple[str, str]:
    """Return the end of a prompt, from the question on, and the answer as the chat template writes it after that."""
    text = talk[0]["content"][-1]["text"]
    prompt = processor.apply_chat_template([*talk], add_generation_prompt=True, tokenize=False, **template)
    turn = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    whole = processor.apply_chat_template([*talk, turn], tokenize=False, **template)
    if text not in prompt:
        raise ValueError("`model`: expected a chat template that writes the question as it is, got another one.")
    # Some templates end in a colon, and write a space before an assistant's words.
    gap = whole[len(prompt) :].partition(answer)[0] if whole.startswith(prompt) else ""
    return prompt[prompt.rindex(text) :], (gap if not gap.strip() else "") + answer


def whole_log_probability(model: Any, inputs: Mapping[str, Tensor], sequence: Sequence[int], start: int) -> float:
    """Return the log-probability of the last tokens of a sequence by one pass of the model, without a cache.

    Args:
        model: Image-text model of transformers.
        inputs: The model's inputs for the sequence's prompt.
        sequence: Ids of the prompt's tokens and the answer's.
        start: Position of the answer's first token.
    """
    given = dict(inputs)
    added = len(sequence) - given["input_ids"].shape[1]
    ids = given["input_ids"].shape
    for key, value in given.items():
        if value.shape == ids:  # masks and types of tokens; an answer's are those of the prompt's last token
            given[key] = torch.cat([value, value[:, -1:].expand(-1, added)], 1) if added > 0 else value
    given["input_ids"] = torch.tensor([[*sequence]], device=model.device)
    logits = model(**given, use_cache=False).logits[0, start - 1 : -1].float()
    answer = given["input_ids"][0, start:, None]
    return float(logits.log_softmax(-1).gather(-1, answer).sum())
