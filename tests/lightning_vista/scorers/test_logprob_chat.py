"""Chat scorers that read the log-probabilities of an endpoint's first token, and send frames as a video."""

import base64
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_runs import SECRET, evaluate
from chat_server import Body, ChatServer, chat_server
from logprob_replies import draw, saying, text_of

from lightning_vista.evaluation import Scores
from lightning_vista.scorers import ChatScorer
from lightning_vista.scorers.chat import limits as asking
from lightning_vista.scorers.chat.endpoint import NoLogprobsError
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.video import FrameSpec, decode_video
from lightning_vista.vista.tables import read_scores

DESCRIPTIONS = ["We see a ball", "We see a cup"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    with chat_server() as server:
        server.say = lambda body: saying(draw(body))
        yield server


def scorer(server: ChatServer, folder: Path, **settings: Any) -> ChatScorer:
    chosen: dict[str, Any] = {"num_frames": 3, "size": 16, "limits": Limits(timeout=600)} | settings
    return ChatScorer("tiny", server.url, cache=str(folder / "replies.sqlite"), **chosen)


def score(judge: ChatScorer, times: list[float] | None = None) -> Scores:
    frames = torch.full((1, 3, 3, 16, 16), 200, dtype=torch.uint8)
    (scores,) = judge.score_clips(frames, DESCRIPTIONS, [times or [0.0, 0.5, 1.0]])
    judge.close()
    return scores


@pytest.mark.parametrize("mode", ["likelihood", "choice", "expected"])
def test_the_whole_loop(server: ChatServer, shards: Path, tmp_path: Path, mode: str) -> None:
    evaluate(scorer(server, tmp_path, mode=mode), shards, tmp_path / "run")
    rows = read_scores(tmp_path / "run").rows
    assert rows.height == 40
    assert rows["score"].null_count() == 0
    assert rows["score"].n_unique() > 3
    assert rows["score"].is_between(0, 5).all() if mode == "expected" else (rows["score"] <= 0).all()
    sent = {key: {body[key] for body in server.bodies} for key in ("logprobs", "top_logprobs", "temperature")}
    assert sent == {"logprobs": {True}, "top_logprobs": {20}, "temperature": {1.0}}
    assert {body["max_completion_tokens"] for body in server.bodies} == {1}
    transcripts = [path.read_text() for path in (tmp_path / "run" / "transcripts").iterdir()]
    assert all(
        "[log-probabilities: " in text and "--- user\n[3 frames]\nThese are 3 frames" in text for text in transcripts
    )


@pytest.mark.parametrize("mode", ["likelihood", "choice", "expected"])
def test_a_dry_run_counts_the_requests_that_a_run_sends(
    server: ChatServer, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    evaluate(scorer(server, tmp_path, mode=mode), shards, tmp_path / "run", dry_run=True)
    assert not server.bodies
    (planned,) = re.findall(r"send (\d+) requests", capsys.readouterr().out)
    evaluate(scorer(server, tmp_path, mode=mode), shards, tmp_path / "run")
    assert len(server.bodies) == int(planned)


@pytest.mark.parametrize("answer", ["Yes", "True"])
def test_likelihoods_are_those_of_the_answer(server: ChatServer, tmp_path: Path, answer: str) -> None:
    server.say = lambda body: saying({answer: 0.2, f" {answer}": 0.1, "No": 0.6} if "ball" in text_of(body) else
                                     {"No": 0.75, answer: 0.25})  # fmt: skip
    values = score(scorer(server, tmp_path, mode="likelihood", answer=answer)).values
    assert values.tolist() == pytest.approx([math.log(0.3), math.log(0.25)])
    assert all(f"Answer {answer} or" in text_of(body) for body in server.bodies)


def test_letters_stand_for_the_candidates_in_order(server: ChatServer, tmp_path: Path) -> None:
    server.say = lambda body: saying({"B": 0.7, "A": 0.2, "The": 0.1})
    assert score(scorer(server, tmp_path, mode="choice")).values.tolist() == pytest.approx(
        [math.log(0.2), math.log(0.7)]
    )
    (body,) = server.bodies
    assert "A: We see a ball\nB: We see a cup" in text_of(body)


def test_the_expected_score_is_the_mean_over_the_digits(server: ChatServer, tmp_path: Path) -> None:
    server.say = lambda body: saying({"4": 0.5, "5": 0.25, " 2": 0.05, "The": 0.2})
    expected = (4 * 0.5 + 5 * 0.25 + 2 * 0.05) / 0.8
    assert score(scorer(server, tmp_path, mode="expected")).values.tolist() == pytest.approx([expected] * 2)


@pytest.mark.parametrize(
    ("mode", "said", "reason"),
    [
        ("likelihood", saying({"<think>": 0.9, "No": 0.1}), "not_listed"),
        ("choice", saying({"A": 0.9, "No": 0.1}), "not_listed"),
        ("expected", saying({"The": 0.9, "6": 0.1}), "not_listed"),
        ("likelihood", saying({"No": 1.0}, message={"role": "assistant", "refusal": "No."}), "refusal"),
    ],
)
def test_what_is_not_listed_is_unscored(server: ChatServer, tmp_path: Path, mode: str, said: Body, reason: str) -> None:
    server.say = lambda body: said
    scores = score(scorer(server, tmp_path, mode=mode))
    assert scores.values.isnan().all()
    assert scores.reason == reason


def test_a_probability_of_nothing_is_not_listed_either(server: ChatServer, tmp_path: Path) -> None:
    said = saying({"No": 1.0, "Yes": 0.5})
    said["choices"][0]["logprobs"]["content"][0]["top_logprobs"][1]["logprob"] = -9999.0  # as OpenAI writes it
    server.say = lambda body: said
    assert score(scorer(server, tmp_path, mode="likelihood")).reason == "not_listed"


@pytest.mark.parametrize("on_failure", ["raise", "unscored"])
@pytest.mark.parametrize("mode", ["likelihood", "choice", "expected"])
def test_endpoints_that_give_none_are_refused(server: ChatServer, tmp_path: Path, mode: str, on_failure: str) -> None:
    expected = (
        r"tiny at .* gives no log-probabilities \(`logprobs`\).*vLLM, gpt-4o or gpt-4.1, or set `mode` to 'stages'"
    )
    server.say = lambda body: "Yes"  # the field is missing
    with pytest.raises(NoLogprobsError, match=expected):
        score(scorer(server, tmp_path, mode=mode, on_failure=on_failure))
    server.say = lambda body: saying(None)  # it is null
    with pytest.raises(NoLogprobsError, match=expected):
        score(scorer(server, tmp_path, mode=mode, on_failure=on_failure, repeat=1))


def test_endpoints_that_refuse_the_field_are_refused(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai

    post = openai.AsyncOpenAI.post

    async def refuse(*args: Any, **request: Any) -> Any:
        try:
            return await post(*args, **request)
        except openai.BadRequestError as error:
            message = "You are not allowed to request logprobs from this model"
            raise openai.BadRequestError(message, response=error.response, body=None) from None

    monkeypatch.setattr(openai.AsyncOpenAI, "post", refuse)
    server.fault = lambda body, earlier: "400"
    with pytest.raises(NoLogprobsError, match="gives no log-probabilities"):
        score(scorer(server, tmp_path, mode="likelihood", on_failure="unscored"))
    assert score(scorer(server, tmp_path, mode="single", on_failure="unscored")).reason == "endpoint_error"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "choice", "answer": "True"}, "`answer`: expected one word, in mode 'likelihood' only"),
        ({"mode": "likelihood", "answer": ""}, "`answer`: expected one word"),
        ({"mode": "likelihood", "answer": "It does"}, "`answer`: expected one word"),
        ({"mode": "likelihood", "temperature": 0.2}, "`temperature`, `max_tokens`: expected none in mode 'likelihood'"),
        ({"mode": "expected", "max_tokens": 100}, "`temperature`, `max_tokens`: expected none in mode 'expected'"),
        ({"mode": "likely"}, "`mode`: expected one of 'stages', 'single', 'likelihood', 'choice', 'expected'"),
        ({"frames_as": "film"}, "`frames_as`: expected one of 'images', 'video'"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChatScorer("tiny", **settings)


@pytest.mark.parametrize("mode", ["single", "likelihood"])
def test_frames_are_one_mp4_at_their_own_times(server: ChatServer, tmp_path: Path, mode: str) -> None:
    if mode == "single":
        server.say = lambda body: '{"scores": {"0": 5, "1": 1}}'
    judge = scorer(server, tmp_path, mode=mode, frames_as="video")
    scores = score(judge, [0.0, 2.0, 4.0])
    assert scores.values.isfinite().all()
    body = server.bodies[0]
    kinds = [part["type"] for part in body["messages"][0]["content"]]
    assert kinds == (["text", "video_url"] if mode == "single" else ["video_url", "text"])
    (part,) = [part for part in body["messages"][0]["content"] if part["type"] == "video_url"]
    head, data = part["video_url"]["url"].split(",")
    assert head == "data:video/mp4;base64"
    clip = decode_video(base64.b64decode(data), FrameSpec(num_frames=3, size=None))
    assert clip.times == pytest.approx([0.0, 2.0, 4.0])
    assert clip.frames.shape == (3, 3, 16, 16)
    assert (clip.frames.float() - 200).abs().max() <= 4
    asked = len(server.bodies)
    score(scorer(server, tmp_path, mode=mode, frames_as="video"), [0.0, 2.0, 4.0])
    assert len(server.bodies) == asked  # the same video is the same request
    score(scorer(server, tmp_path, mode=mode, frames_as="video"), [0.0, 1.0, 2.0])
    assert len(server.bodies) > asked


def test_a_video_needs_times(server: ChatServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`times`: expected the times of the frames, got none.*frames_as='images'"):
        score(scorer(server, tmp_path, frames_as="video"), [math.nan] * 3)
