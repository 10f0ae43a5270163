"""Likelihoods, compared with a whole pass of the model over a prompt that is written by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
from PIL import Image
from tiny_chat_model import save_idefics3, save_llava, transformers
from tiny_video_models import save_gemma3, save_qwen2_5_vl, save_qwen3_5, save_qwen3_vl, save_smolvlm
from torch import Tensor

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import LikelihoodScorer
from lightning_vista.scorers.image_text import FrameCost, process
from lightning_vista.scorers.likelihood import encode_queries
from lightning_vista.vista.batch import Candidates, Question, VideoBatch
from lightning_vista.vista.tables import read_scores

NUM_FRAMES, SIZE = 4, 64
TIMES = (0.0, 0.4, 2.0, 2.4)
DESCRIPTIONS = ["We see a ball", "We see a cup, then a ball, and in the end a cup", "We"]
#: The claim as a user reads it.
CLAIM = (
    "These are 4 frames of one video, in the order in which they were filmed.\n\nDoes the claim below describe the "
    "video as a whole, with all of its steps and in their order? {1}\n\nClaim: {0}"
)
CHOICE = (
    "These are 4 frames of one video, in the order in which they were filmed.\n\nCandidates:\n\n{}\n\nWhich candidate "
    "describes the video as a whole, with all of its steps and in their order? Answer with its letter only."
)


class Family(NamedTuple):
    """A model, and its prompt around the words of a question, with frames as images, as a video, and without any.

    The answer follows the prompt; `gap` is what the template writes between them.
    """

    save: Callable[[Path], str]
    images: str
    video: str | None
    nothing: str
    gap: str = ""


def qwen(media: str) -> str:
    return f"<|im_start|>user\n{media}{{}}<|im_end|>\n<|im_start|>assistant\n"


SEEN = "<|vision_start|><|{}_pad|><|vision_end|>"
QWEN = (qwen(SEEN.format("image") * NUM_FRAMES), qwen(SEEN.format("video")), qwen(""))
TURN = "<end_of_turn>\n<start_of_turn>model\n"
END = "<end_of_utterance>\nAssistant:"
FAMILIES = {
    "llava": Family(save_llava, "<user>" + "<image>" * NUM_FRAMES + "{}<assistant>", None, "<user>{}<assistant>"),
    "qwen2_5_vl": Family(save_qwen2_5_vl, *QWEN),
    "qwen3_vl": Family(save_qwen3_vl, *QWEN),
    "smolvlm": Family(
        save_smolvlm,
        "<|im_start|>User:" + "<image>" * NUM_FRAMES + "{}" + END,
        "<|im_start|>User: <video>{}" + END,
        "<|im_start|>User: {}" + END,
        " ",
    ),
    # Layers that keep a state (linear attention), or only the last tokens (sliding windows).
    "qwen3_5": Family(save_qwen3_5, *QWEN),
    "gemma3": Family(
        save_gemma3,
        "<bos><start_of_turn>user\n" + "<start_of_image>" * NUM_FRAMES + "{}" + TURN,
        None,
        "<bos><start_of_turn>user\n{}" + TURN,
    ),
}
CASES = [(name, "images") for name in FAMILIES] + [(name, "video") for name in FAMILIES if FAMILIES[name].video]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: family.save(tmp_path_factory.mktemp(name)) for name, family in FAMILIES.items()}


def frames_of(videos: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 255, (videos, NUM_FRAMES, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def scorer_of(checkpoint: str, **settings: Any) -> LikelihoodScorer:
    chosen: dict[str, Any] = {"num_frames": NUM_FRAMES, "size": SIZE, "name": "tiny"} | settings
    return LikelihoodScorer(checkpoint, **chosen)


def scores_of(scorer: LikelihoodScorer, frames: Tensor, descriptions: list[str] | None = None) -> Tensor:
    times = None if frames.shape[1] == 0 else [TIMES] * len(frames)
    rows = scorer.score_clips(frames, descriptions or DESCRIPTIONS, times)
    return torch.stack([row.values for row in rows]).float()


def by_hand(checkpoint: str, family: Family, kind: str, frames: Tensor | None, question: str, answer: str) -> float:
    """The log-probability of an answer by one pass over the whole text, in which nothing is shared or kept."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    processor = transformers.AutoProcessor.from_pretrained(checkpoint)
    settings: dict[str, Any] = {"return_tensors": "pt", "add_special_tokens": False}
    for switch in ("do_image_splitting",):
        if hasattr(processor.image_processor, switch):
            setattr(processor.image_processor, switch, False)
    if frames is not None and kind == "images":
        settings["images"] = [[Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]]
    elif frames is not None:
        milliseconds = {"fps": 1000.0, "frames_indices": [0, 400, 2000, 2400], "total_num_frames": 2401}
        settings |= {"videos": [frames], "video_metadata": [milliseconds | {"duration": 2.401}]}
        settings["do_sample_frames"] = False
    template = {"images": family.images, "video": family.video, "nothing": family.nothing}[kind]
    prompt = str(template).format(question)
    inputs = processor(text=[prompt + family.gap + answer], **settings)
    start = processor(text=[prompt], **settings)["input_ids"].shape[1]
    with torch.no_grad():
        logarithms = model(**inputs, use_cache=False).logits[0].float().log_softmax(-1)
    ids = inputs["input_ids"][0].tolist()
    assert len(ids) > start
    return sum(float(logarithms[place - 1, ids[place]]) for place in range(start, len(ids)))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_scores_are_those_of_a_whole_pass_by_hand(checkpoints: dict[str, str], name: str, kind: str) -> None:
    frames = frames_of(videos=2)
    scores = scores_of(scorer_of(checkpoints[name], frames_as=kind), frames)
    assert len({*scores.flatten().tolist()}) == scores.numel()
    for row, video in zip(scores.tolist(), frames, strict=True):
        for score, description in zip(row, DESCRIPTIONS, strict=True):
            question = CLAIM.format(description, "Answer Yes or No.")
            expected = by_hand(checkpoints[name], FAMILIES[name], kind, video, question, "Yes")
            assert score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_letters_are_scored_in_one_question(checkpoints: dict[str, str], name: str, kind: str) -> None:
    frames = frames_of()
    (scores,) = scores_of(scorer_of(checkpoints[name], frames_as=kind, question="choice"), frames).tolist()
    listed = "\n".join(f"{letter}: {text}" for letter, text in zip("ABC", DESCRIPTIONS, strict=True))
    for score, letter in zip(scores, "ABC", strict=True):
        expected = by_hand(checkpoints[name], FAMILIES[name], kind, frames[0], CHOICE.format(listed), letter)
        assert score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_answers_of_several_tokens_are_summed(checkpoints: dict[str, str], name: str, kind: str) -> None:
    frames, answer = frames_of(), "It is fully true, all of it"
    (scores,) = scores_of(scorer_of(checkpoints[name], frames_as=kind, answer=answer), frames).tolist()
    for score, description in zip(scores, DESCRIPTIONS, strict=True):
        question = CLAIM.format(description, f"If so, answer: {answer}")
        expected = by_hand(checkpoints[name], FAMILIES[name], kind, frames[0], question, answer)
        assert score == pytest.approx(expected, abs=1e-5, rel=1e-6)  # a sum over many tokens


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_prior_is_that_of_the_question_alone(checkpoints: dict[str, str], name: str, kind: str) -> None:
    """Also after a video, of whose positions models with M-RoPE keep an offset."""
    frames, settings = frames_of(videos=2), {"frames_as": kind, "answer": "True"}
    plain = scores_of(scorer_of(checkpoints[name], **settings), frames)
    scores = scores_of(scorer_of(checkpoints[name], **settings, subtract_prior=True), frames)
    for number, description in enumerate(DESCRIPTIONS):
        question = CLAIM.format(description, "Answer True or False.")
        prior = by_hand(checkpoints[name], FAMILIES[name], "nothing", None, question, "True")
        assert (plain - scores)[:, number].tolist() == pytest.approx([prior] * 2, abs=2e-5 * max(1, abs(prior)))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_candidates_of_a_batch_do_not_touch_each_other(checkpoints: dict[str, str], name: str, kind: str) -> None:
    frames = frames_of(videos=2)
    together = scores_of(scorer_of(checkpoints[name], frames_as=kind), frames)
    for size in (1, 2):
        scorer = scorer_of(checkpoints[name], frames_as=kind, candidate_batch_size=size)
        torch.testing.assert_close(scores_of(scorer, frames), together, rtol=1e-5, atol=1e-5)
    alone = [scores_of(scorer, frames[1:], [description]) for description in reversed(DESCRIPTIONS)]
    torch.testing.assert_close(torch.cat(alone[::-1], 1), together[1:], rtol=1e-5, atol=1e-5)


def test_normalised_scores_are_logarithms_of_shares(checkpoints: dict[str, str]) -> None:
    frames = frames_of(videos=2)
    plain = scores_of(scorer_of(checkpoints["qwen3_vl"]), frames)
    shares = scores_of(scorer_of(checkpoints["qwen3_vl"], normalise=True), frames).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    torch.testing.assert_close(shares[:, 0] / shares[:, 1], (plain[:, 0] - plain[:, 1]).exp())


def test_problem_sets_of_a_video_share_its_frames(checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(checkpoints["qwen3_vl"])
    sets = tuple(
        Candidates(f"a/level_1/b/{number}", ("x", "y"), (f"We see {number}", DESCRIPTIONS[0])) for number in (1, 2)
    )
    batch = VideoBatch(frames_of(), [(0, 1, 2, 3)], [Question("v", sets, None)], times=[TIMES])
    first, second = scorer.score(batch)[0]
    assert first.values[1] == second.values[1]
    seen = []
    encode = scorer.model.model.visual.forward

    def noting(*args: Any, **settings: Any) -> Any:
        seen.append(1)
        return encode(*args, **settings)

    monkeypatch.setattr(scorer.model.model.visual, "forward", noting)
    torch.testing.assert_close(scorer.score(batch)[0][0].values, first.values)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("bf16-mixed", 0.2), ("bf16-true", 0.2), ("16-true", 0.05), ("64-true", 1e-4)]
)
def test_every_precision_of_the_trainer_scores(
    checkpoints: dict[str, str], shards: Path, tmp_path: Path, precision: Any, tolerance: float
) -> None:
    tables = []
    for number, word in enumerate(("32-true", precision)):
        scorer = scorer_of(checkpoints["qwen3_vl"], subtract_prior=True)
        data = ViSTaDataModule(str(shards), scorer.frame_spec, batch_size=4, num_workers=0)
        trainer = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            precision=word,
            callbacks=[Evaluation(str(tmp_path / str(number)))],
        )
        trainer.test(scorer, data, verbose=False)
        tables.append(read_scores(tmp_path / str(number)).rows)
    assert tables[0].height == 40
    assert (tables[0]["score"] - tables[1]["score"]).abs().to_numpy().max() <= tolerance  # NaN is not


def test_what_is_not_finite_is_unscored(checkpoints: dict[str, str]) -> None:
    scorer = scorer_of(checkpoints["llava"])
    scorer.model.lm_head.weight.fill_(torch.nan)
    (scores,) = scorer.score_clips(frames_of(), DESCRIPTIONS)
    assert scores.values.isnan().all()
    assert scores.reason == "not_finite"


def test_a_model_that_looks_ahead_is_refused(checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.masking_utils import create_bidirectional_mask
    from transformers.models.llama import modeling_llama

    monkeypatch.setattr(modeling_llama, "create_causal_mask", create_bidirectional_mask)
    scorer = scorer_of(checkpoints["llava"])
    for layer in scorer.model.model.language_model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(ValueError, match="expected one that reads from left to right.*Use LocalChatScorer"):
        scores_of(scorer, frames_of())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"question": "yes"}, "`question`: expected one of 'claim', 'choice'"),
        ({"frames_as": "film"}, "`frames_as`: expected one of"),
        ({"dtype": "int8"}, "`dtype`: expected one of"),
        ({"candidate_batch_size": 0}, "`candidate_batch_size`: expected at least 1"),
        ({"answer": " "}, "`answer`: expected words"),
        ({"answer": "B", "question": "choice"}, "`answer`: expected words, for question 'claim' only"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LikelihoodScorer("nowhere", **settings)


def test_checkpoints_that_cannot_answer_at_once_are_refused(checkpoints: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="`frames_as`: expected 'auto' or 'images'.*LlavaProcessor"):
        scorer_of(checkpoints["llava"], frames_as="video")
    scorer = scorer_of(checkpoints["qwen3_vl"])
    scorer.processor.chat_template = scorer.processor.chat_template.replace("assistant\n{%", "assistant\n<think>\n{%")
    with pytest.raises(ValueError, match="instruct checkpoint, got one whose chat template begins a thought"):
        scores_of(scorer, frames_of())
    with pytest.raises(ValueError, match="`descriptions`: expected at most 26 for a choice by letter, got 27"):
        scores_of(scorer_of(checkpoints["llava"], question="choice"), frames_of(), [f"We {n}" for n in range(27)])


def test_a_thought_that_can_be_switched_off_is(checkpoints: dict[str, str]) -> None:
    scorer = scorer_of(checkpoints["qwen3_vl"])
    expected = scores_of(scorer, frames_of())
    scorer.processor.chat_template = scorer.processor.chat_template.replace(
        "assistant\n{%", "assistant\n{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{%"
    )
    torch.testing.assert_close(scores_of(scorer, frames_of()), expected)


def test_words_that_are_cut_differently_are_encoded_one_by_one(checkpoints: dict[str, str]) -> None:
    """Where a tokenizer cuts the ends of prompts otherwise than the whole, nothing is shared between the texts."""
    scorer = scorer_of(checkpoints["qwen3_vl"])
    parts = [{"type": "image", "image": Image.new("RGB", (SIZE, SIZE))}]
    queries = [("We see", "Yes"), ("No, a cup", "No"), ("We see a ball", "Yes")]  # they do not begin alike
    prompts = encode_queries(scorer.processor, parts, queries)
    for sequence, start, (text, answer) in zip(prompts.sequences, prompts.starts, queries, strict=True):
        talk = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
        ids = process(scorer.processor, [talk])["input_ids"][0].tolist()
        assert sequence[:start] == ids
        assert scorer.processor.tokenizer.decode(sequence[start:]) == answer


@pytest.mark.parametrize(
    ("save", "settings", "shown"),
    [
        (
            save_idefics3,
            {"split_frames": True},
            "5 frames as images: 25 pictures (5 per frame), 25 tokens (5 per frame)",
        ),
        (save_idefics3, {}, "5 frames as images: 5 pictures (1 per frame), 5 tokens (1 per frame)"),
        (save_qwen3_vl, {}, "5 frames as one video: 3 pictures (0.6 per frame), 12 tokens (2.4 per frame)"),
        (save_gemma3, {}, "5 frames as images: 5 pictures (1 per frame), 20 tokens (4 per frame)"),
        (save_llava, {}, "5 frames as images: 5 pictures (1 per frame), 20 tokens (4 per frame)"),
    ],
)
def test_what_a_processor_makes_of_frames_is_counted_and_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, save: Any, settings: dict[str, Any], shown: str
) -> None:
    scorer = LikelihoodScorer(save(tmp_path), num_frames=5, size=SIZE, name="tiny", **settings)
    frames = torch.zeros(1, 5, 3, SIZE, SIZE, dtype=torch.uint8)
    with caplog.at_level("INFO"):
        for _ in range(2):
            scorer.score_clips(frames, ["We see a ball"], [[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert [record.message for record in caplog.records if "per frame" in record.message] == [f"tiny: {shown}"]


def test_pictures_without_a_grid_are_counted() -> None:
    class Config:
        image_token_id = 7

    inputs = {"input_ids": torch.tensor([[1, 7, 7, 7, 7, 2]]), "pixel_values": torch.zeros(2, 2, 3, 8, 8)}
    assert FrameCost.of(Config(), inputs, 2, False) == FrameCost(2, 4, 4, False)
