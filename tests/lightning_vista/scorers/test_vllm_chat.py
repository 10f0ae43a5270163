"""vLLM in this process, against a module of the same signatures: vLLM itself is not installed here."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chat_server import chat_server, say_scores
from PIL import Image
from torch import Tensor
from vllm_stand_in import LLM, stand_in

from lightning_vista.evaluation.identity import identity
from lightning_vista.scorers import ChatScorer, VLLMChatScorer

TEXTS = ["We see a ball", "We see a cup"]


def videos(count: int = 3) -> Tensor:
    coarse = torch.randint(0, 256, (count, 2, 3, 1, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return coarse.expand(-1, -1, -1, 16, 16).contiguous()


def scorer(**settings: Any) -> VLLMChatScorer:
    return VLLMChatScorer("tiny", **({"num_frames": 2, "size": 16} | settings))


@pytest.mark.parametrize("mode", ["stages", "single"])
def test_a_model_scores_the_same_here_and_behind_a_server(mode: Any, tmp_path: Path, monkeypatch: Any) -> None:
    stand_in(monkeypatch)
    found = scorer(mode=mode).score_clips(videos(), TEXTS)
    with chat_server() as server:
        server.say = lambda body: say_scores({"messages": body["messages"]})
        settings = {"num_frames": 2, "size": 16, "jpeg_quality": 95, "cache": str(tmp_path / "replies.sqlite")}
        chat = ChatScorer("tiny", server.url, mode=mode, **settings)  # type: ignore[arg-type]
        expected = chat.score_clips(videos(), TEXTS)
        chat.close()
    assert [row.values.tolist() for row in found] == [row.values.tolist() for row in expected]
    assert len({tuple(row.values.tolist()) for row in found}) > 1


def test_every_round_is_one_call_with_the_frames_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = stand_in(monkeypatch)
    scorer().score_clips(videos(), TEXTS)
    (engine,) = vllm.engines
    assert (engine.calls, len(engine.asked)) == (3, 9)
    for (messages, _), video in zip(engine.asked, videos(), strict=False):
        shown = [part["image_url"]["url"] for part in messages[0]["content"] if part["type"] == "image_url"]
        for url, frame in zip(shown, video, strict=True):
            head, _, content = url.partition(",")
            assert head == "data:image/jpeg;base64"
            pixels = np.array(Image.open(io.BytesIO(base64.b64decode(content))))
            assert np.abs(pixels - frame.permute(1, 2, 0).numpy().astype(float)).max() <= 3


def test_settings_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = stand_in(monkeypatch)
    scorer(temperature=0.7, seed=5, max_tokens=9, engine={"dtype": "bfloat16"}).score_clips(videos(), TEXTS)
    (engine,) = vllm.engines
    limits = {"limit_mm_per_prompt": {"image": 2}}
    assert engine.arguments == {"model": "tiny", "dtype": "bfloat16", "seed": 5, "max_model_len": None, **limits}
    settings = [sampling for _, sampling in engine.asked]
    assert {(each.temperature, each.max_tokens) for each in settings} == {(0.7, 9)}
    assert len({each.seed for each in settings}) == len(settings)
    again = stand_in(monkeypatch)
    scorer(temperature=0.7, seed=5, max_tokens=9).score_clips(videos(), TEXTS)
    assert [sampling.seed for _, sampling in again.engines[0].asked] == [each.seed for each in settings]


def test_a_reply_that_is_cut_off_is_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    monkeypatch.setattr(LLM, "say", staticmethod(lambda body: "half a reply<cut>"))
    (scores,) = scorer(mode="single").score_clips(videos(1), TEXTS)
    assert scores.values.isnan().all()
    assert scores.reason == "truncated"


def test_what_changes_replies_changes_the_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vllm = stand_in(monkeypatch)
    (tmp_path / "model.safetensors").write_bytes(b"a")

    def named(**settings: Any) -> str:
        return identity(VLLMChatScorer(str(tmp_path), name="m", **settings))

    before = named()
    assert named() == before
    others = [named(max_tokens=3), named(engine={"dtype": "float16"}), named(temperature=0.1)]
    monkeypatch.setattr(vllm, "__version__", "0.1", raising=False)
    others.append(named())
    (tmp_path / "model.safetensors").write_bytes(b"b")
    assert len({before, *others, named()}) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "`max_tokens`: expected at least 1"),
        ({"temperature": -1.0}, "`temperature`: expected at least 0"),
        ({"engine": {"seed": 1}}, r"`engine`: expected arguments that are not set elsewhere, got \['seed'\]"),
        ({"mode": "likelihood"}, "`mode`: expected one of 'stages', 'single'"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VLLMChatScorer("tiny", **settings)


def test_without_vllm_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(ModuleNotFoundError, match="`pip install vllm`.*LocalChatScorer"):
        VLLMChatScorer("tiny")
