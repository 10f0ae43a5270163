import functools
import io
import math
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image
from tiny_chat_model import save_idefics3, save_llava, transformers
from tiny_checkpoints import save_clip
from tiny_video_models import save_qwen2_5_vl, save_qwen3_vl, save_smolvlm

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import LikelihoodScorer, LocalChatScorer
from lightning_vista.scorers.chat.chat_model import ChatModel, Message, Reply, Request, SentAs
from lightning_vista.scorers.local_chat import chat_message
from lightning_vista.video import FrameClock
from lightning_vista.vista.tables import read_scores


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_llava(tmp_path_factory.mktemp("checkpoint"))


def local_scorer(checkpoint: str, **settings: Any) -> LocalChatScorer:  # what it takes
    return LocalChatScorer(checkpoint, **({"num_frames": 2, "size": 16, "max_tokens": 12} | settings))


def jpeg(seed: int) -> bytes:
    """An image of noise."""
    pixels = torch.randint(0, 255, (16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, format="JPEG")
    return file.getvalue()


REQUESTS = [
    Request((Message("user", "What is this?", (jpeg(0), jpeg(1))),)),
    Request((Message("user", "What is this? Look closely.", (jpeg(2), jpeg(3))),)),
    Request((Message("user", "No image."),)),
    Request((Message("user", "One", (jpeg(4),)), Message("assistant", "Two"), Message("user", "Three?"))),
]


def test_replies_are_those_of_the_model_asked_by_hand(checkpoint: str) -> None:
    model = transformers.LlavaForConditionalGeneration.from_pretrained(checkpoint).eval()
    processor = transformers.LlavaProcessor.from_pretrained(checkpoint)
    images = [Image.open(io.BytesIO(jpeg(seed))) for seed in (0, 1)]
    inputs = processor(text="<user>What is this?<image><image><assistant>", images=images, return_tensors="pt")
    expected = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    (reply,) = local_scorer(checkpoint).answer(REQUESTS[:1])
    assert reply.text == processor.tokenizer.decode(expected, skip_special_tokens=True)
    assert reply.text


@pytest.mark.parametrize("requests", [REQUESTS, REQUESTS[:2], REQUESTS[2:]])
def test_batches_answer_as_one_by_one(checkpoint: str, requests: Sequence[Request]) -> None:
    one_by_one = local_scorer(checkpoint, request_batch_size=1).answer(requests)
    for size in (2, 3, 4):
        assert local_scorer(checkpoint, request_batch_size=size).answer(requests) == one_by_one
    assert len({reply.text for reply in one_by_one}) == len(requests)


def test_with_a_temperature_the_seed_and_the_request_decide(checkpoint: str) -> None:
    first = local_scorer(checkpoint, temperature=1.0).answer(REQUESTS)
    torch.rand(1)
    assert local_scorer(checkpoint, temperature=1.0).answer(REQUESTS[::-1]) == first[::-1]
    assert local_scorer(checkpoint, temperature=1.0, seed=1).answer(REQUESTS) != first
    assert local_scorer(checkpoint).answer(REQUESTS) != first


def test_a_reply_that_does_not_end_is_cut_off(checkpoint: str) -> None:
    scorer = local_scorer(checkpoint, max_tokens=2)
    assert scorer.answer(REQUESTS[:1])[0].finish == "length"
    scorer.model.generation_config.eos_token_id = list(range(len(scorer.processor.tokenizer)))
    assert scorer.answer(REQUESTS[:1])[0].finish == "stop"


class Talkative(LocalChatScorer):
    """Says what is asked for, after the model has said its own."""

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        super().answer(requests)
        return [Reply("ball: 5\ncup: 1\nkey: 0\nab: 4\nba: 2\ndig: 3\njump: 2\neat: 1") for _ in requests]


@pytest.mark.parametrize("mode", ["stages", "single"])
def test_the_whole_loop(checkpoint: str, shards: Path, tmp_path: Path, mode: str) -> None:
    for number, kind in enumerate((LocalChatScorer, Talkative)):
        settings: dict[str, Any] = {"mode": mode, "num_frames": 2, "size": 16, "max_tokens": 4}
        scorer = kind(checkpoint, **settings, name="tiny")
        datamodule = ViSTaDataModule(str(shards), scorer.frame_spec, problem_sets=["toy/*"], num_workers=0)
        run = Evaluation(str(tmp_path / str(number)))
        trainer = L.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[run]
        )
        trainer.test(scorer, datamodule, verbose=False)
    rows = read_scores(tmp_path / "0").rows
    assert rows["score"].null_count() == rows.height == 31
    assert set(rows["reason"]) <= {"parse_error", "truncated"}
    rows = read_scores(tmp_path / "1").rows
    assert rows.filter(rows["label"] == "ball")["score"].unique().to_list() == [5.0]
    assert rows["score"].null_count() == 0
    assert len(list((tmp_path / "1" / "transcripts").iterdir())) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"temperature": -1}, "temperature"), ({"max_tokens": 0}, "max_tokens"), ({"request_batch_size": 0}, "request")],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"`{message}.*`: expected at least"):
        LocalChatScorer("nowhere", **settings)


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="(?s)Cannot load.*Expected the id of a checkpoint"):
        LocalChatScorer(str(tmp_path / "nothing"))


@pytest.fixture(scope="module")
def idefics(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_idefics3(tmp_path_factory.mktemp("idefics"))


def test_frames_are_not_cut_into_tiles_unless_that_is_wanted(idefics: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for split in (False, True):
        scorer = local_scorer(idefics, split_frames=split)
        generate = scorer.model.generate

        def noting(generate: Any = generate, **inputs: Any) -> Any:
            pictures.append(inputs["pixel_values"].shape[:2])
            return generate(**inputs)

        monkeypatch.setattr(scorer.model, "generate", noting)
        scorer.answer(REQUESTS[:1])
    assert pictures == [(1, 2), (1, 2 * 5)]


def test_a_processor_that_cuts_nevertheless_is_named_once(idefics: str) -> None:
    scorer = local_scorer(idefics, name="tiny")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        scorer.answer([REQUESTS[0], REQUESTS[3]])  # of two and one frames, but not cut
    scorer = local_scorer(idefics, name="tiny")
    scorer.processor.image_processor.do_image_splitting = True
    with pytest.warns(UserWarning, match="tiny: the processor makes 5 pictures of each frame.*split_frames=True"):
        scorer.answer(REQUESTS[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        scorer.answer(REQUESTS[:1])


def with_template(scorer: LocalChatScorer, prompt: str) -> LocalChatScorer:
    """The scorer with a chat template that ends in this text."""
    scorer.processor.chat_template = scorer.processor.chat_template.replace("<assistant>{% endif", f"{prompt}{{% endif")
    return scorer


def saying(scorer: LocalChatScorer, text: str, monkeypatch: pytest.MonkeyPatch) -> LocalChatScorer:
    """The scorer with a model that always says this."""
    said = scorer.processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    ended = torch.cat([said, torch.tensor([[scorer.processor.tokenizer.eos_token_id]])], dim=1)
    monkeypatch.setattr(scorer.model, "generate", lambda input_ids, **_: torch.cat([input_ids, ended], dim=1))
    return scorer


@pytest.mark.parametrize(
    ("prompt", "said", "reply"),
    [
        ("<assistant>", "a: 4", "a: 4"),
        ("<assistant>", "<think>a: 3</think>a: 4", "<think>a: 3</think>a: 4"),  # its marks are special tokens
        ("<assistant><think>", "a: 3</think>a: 4", "<think>a: 3</think>a: 4"),
        ("<assistant><think>\n", "a: 3", "<think>a: 3"),
        ("<assistant><think></think>", "a: 4", "a: 4"),
    ],
)
def test_a_thought_begun_in_the_prompt_is_told_from_an_answer(
    idefics: str, monkeypatch: pytest.MonkeyPatch, prompt: str, said: str, reply: str
) -> None:
    scorer = saying(with_template(local_scorer(idefics), prompt), said, monkeypatch)
    assert scorer.answer(REQUESTS[2:3]) == [Reply(reply)]


def test_another_kind_of_model_is_named_in_one_sentence(tmp_path: Path) -> None:
    folder = save_clip(tmp_path)
    with pytest.raises(
        ValueError, match="expected an image-text model.*of model_type 'clip'. Use CLIPScorer"
    ) as caught:
        LocalChatScorer(folder)
    assert len(str(caught.value)) < 300 + len(folder)


def test_smolvlm_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers.SmolVLMConfig().save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(ModuleNotFoundError, match=r"'num2words'.*pip install 'lightning-vista\[vlm\]'"):
        LocalChatScorer(str(tmp_path))


@pytest.mark.parametrize("first", [False, True])
def test_endpoints_and_local_models_get_the_same_parts_in_the_same_order(first: bool) -> None:
    message = Message("user", "Which?", (jpeg(0), jpeg(1)), FrameClock(8.0, (0, 4)), images_first=first)
    forms: tuple[tuple[SentAs, list[str]], ...] = (("images", ["image"] * 2), ("video", ["video"]))
    for frames_as, pictures in forms:
        there = ChatModel("m", frames_as=frames_as)._message(message, lambda image: "url")["content"]
        here = chat_message(message, frames_as)["content"]
        expected = [*pictures, "text"] if first else ["text", *pictures]
        assert [part["type"].removesuffix("_url") for part in there] == expected
        assert [part["type"] for part in here] == expected
        assert there[expected.index("text")] == here[expected.index("text")] == {"type": "text", "text": "Which?"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints that take videos."""
    kinds = {"qwen3_vl": save_qwen3_vl, "qwen2_5_vl": save_qwen2_5_vl, "smolvlm": save_smolvlm}
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in kinds.items()}


def inputs_of(scorer: LocalChatScorer | LikelihoodScorer, times: Sequence[float], patch: pytest.MonkeyPatch) -> Any:
    """What the model gets first when a video of frames shown at these times is scored."""
    seen: list[dict[str, Any]] = []
    forward = scorer.model.forward

    @functools.wraps(forward)
    def noting(*args: Any, **inputs: Any) -> Any:
        seen.append(inputs)
        return forward(*args, **inputs)

    patch.setattr(scorer.model, "forward", noting)
    frames = torch.randint(0, 255, (1, len(times), 3, 64, 64), dtype=torch.uint8)
    scorer.score_clips(frames, ["We see a ball", "We see a cup"], [times])
    return seen[0]


def prompt_of(scorer: LocalChatScorer | LikelihoodScorer, times: Sequence[float], patch: pytest.MonkeyPatch) -> str:
    return str(scorer.processor.tokenizer.decode(inputs_of(scorer, times, patch)["input_ids"][0]))


BOTH = [LocalChatScorer, LikelihoodScorer]
FOUR: dict[str, Any] = {"num_frames": 4, "size": 64}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("times", "read"),
    [
        ([0.0, 0.4, 2.0, 2.4], ["0.2", "2.2"]),
        ([0.0, 2.0, 4.0, 6.0], ["1.0", "5.0"]),  # steady: the video's own rate, here a frame in two seconds
        ([10.0, 10.6, 11.0, 31.0], ["10.3", "21.0"]),
        ([3.0, 3.0, 3.0, 3.0], ["3.0", "3.0"]),  # one frame, repeated
    ],
)
def test_the_true_times_are_in_the_prompt(
    films: dict[str, str], kind: Any, times: list[float], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Qwen3-VL reads two frames as one picture, with the mean of their times."""
    prompt = prompt_of(kind(films["qwen3_vl"], **FOUR), times, monkeypatch)
    assert re.findall(r"<([0-9.]+) seconds>", prompt) == read


@pytest.mark.parametrize("kind", BOTH)
def test_smolvlm_is_told_the_times_too(films: dict[str, str], kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = prompt_of(kind(films["smolvlm"], **FOUR), [0.0, 2.5, 61.0, 75.0], monkeypatch)
    assert re.findall(r"Frame from ([0-9:]+):", prompt) == ["00:00", "00:02", "01:01", "01:15"]
    assert "four frames from a 0:01:15" in prompt


@pytest.mark.parametrize("kind", BOTH)
def test_qwen2_5_is_told_the_interval(films: dict[str, str], kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = inputs_of(kind(films["qwen2_5_vl"], **FOUR), [0.0, 0.5, 1.0, 1.5], monkeypatch)
    # transformers takes 4 frames of 3 + 1 at 2 a second for 2 a second, and a step of two frames for a second.
    assert [float(seconds) for seconds in inputs["second_per_grid_ts"]] == pytest.approx([1.0])


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("frames_as", "times"), [("images", [0.0, 1.0, 2.0, 3.0]), ("auto", [math.nan] * 4)])
def test_frames_without_times_are_images(
    films: dict[str, str], kind: Any, frames_as: Any, times: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = prompt_of(kind(films["qwen3_vl"], frames_as=frames_as, **FOUR), times, monkeypatch)
    assert prompt.count("<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>") == 4
    assert "<|video_pad|>" not in prompt


@pytest.mark.parametrize("kind", BOTH)
def test_a_video_without_times_is_refused(films: dict[str, str], kind: Any) -> None:
    scorer = kind(films["qwen3_vl"], frames_as="video", **FOUR)
    with pytest.raises(ValueError, match="`times`: expected the times of the frames for a video, got none"):
        scorer.score_clips(torch.zeros(1, 4, 3, 64, 64, dtype=torch.uint8), ["We see a ball"])


def test_videos_in_batches_are_answered_as_one_by_one(films: dict[str, str]) -> None:
    clock = FrameClock(8.0, (0, 4))
    seen = [Request((Message("user", f"What is {n}?", (jpeg(n), jpeg(n + 9)), clock),)) for n in range(3)]
    requests = [*seen, REQUESTS[2], REQUESTS[3]]
    for checkpoint in films.values():
        one_by_one = LocalChatScorer(checkpoint, max_tokens=6, request_batch_size=1).answer(requests)
        assert LocalChatScorer(checkpoint, max_tokens=6, request_batch_size=4).answer(requests) == one_by_one
