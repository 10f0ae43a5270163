import itertools
import json
import math
import re
import sqlite3
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from chat_runs import SECRET, evaluate, killed_at
from chat_server import ChatServer, asked_labels, chat_server, faults_now_and_then, replies_can_be_late

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.evaluation.run_folder import RunFolderError
from lightning_vista.reports import write_report
from lightning_vista.scorers import ChatScorer
from lightning_vista.scorers.chat import limits as asking
from lightning_vista.scorers.chat.budget import BudgetError
from lightning_vista.scorers.chat.conversation import ChatMode
from lightning_vista.scorers.chat.endpoint import EndpointError
from lightning_vista.scorers.chat.limits import Limits
from lightning_vista.video import FrameSpec
from lightning_vista.video.encoding import decode_jpeg, encode_jpeg
from lightning_vista.vista.batch import Candidates, DecodedVideo, Question, VideoBatch, collate_videos
from lightning_vista.vista.index import Membership, Sample
from lightning_vista.vista.tables import read_scores

#: 13 videos, 14 pairs of a video and a problem set; the video in two sets is described twice, since hints differ.
PAIRS, REQUESTS = 14, 3 * 14


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    replies_can_be_late(monkeypatch)
    with chat_server() as server:
        yield server


def scorer(server: ChatServer, **settings: Any) -> ChatScorer:  # what it takes
    chosen: dict[str, Any] = {"num_frames": 3, "size": 16, "limits": Limits(timeout=600)} | settings
    return ChatScorer("tiny", server.url, **chosen)


@pytest.mark.parametrize("mode", ["stages", "single"])
def test_every_pair_is_scored(server: ChatServer, shards: Path, tmp_path: Path, mode: ChatMode) -> None:
    evaluate(scorer(server, mode=mode), shards, tmp_path)
    table = read_scores(tmp_path)
    assert table.model == "tiny"
    assert table.rows.height == 40
    assert table.rows["score"].is_between(0, 5).all()
    assert sum(server.received.values()) == (REQUESTS if mode == "stages" else PAIRS)
    assert {body["temperature"] for body in server.bodies} == {0.7}
    assert all(
        label in ("ball", "cup", "key", "ab", "ba", "dig", "jump", "eat")
        for body in server.bodies
        for label in asked_labels(body)
    )


def test_an_endpoint_that_fails_all_the_time_gives_the_same_table(
    server: ChatServer, shards: Path, tmp_path: Path
) -> None:
    evaluate(scorer(server), shards, tmp_path / "calm")
    server.answered.clear()
    server.fault = faults_now_and_then(0.3)
    evaluate(scorer(server, limits=Limits(attempts=20)), shards, tmp_path / "wild")
    assert (tmp_path / "calm/scores.parquet").read_bytes() == (tmp_path / "wild/scores.parquet").read_bytes()
    assert (len(server.answered), set(server.answered.values())) == (REQUESTS, {1})


@pytest.mark.parametrize(
    ("reply", "reason", "requests"),
    [
        ("ball: 5\nab: 5\ndig: 5", "parse_error", 2),
        ("ball: 9\nab: 9\ndig: 9", "parse_error", 2),
        ("I'm sorry, but I can't help with that.", "refusal", 2),
        ({"finish_reason": "length", "message": {"role": "assistant", "content": "ball:"}}, "truncated", 2),
        ({"finish_reason": "stop", "message": {"role": "assistant", "refusal": "No."}}, "refusal", 2),
    ],
)
def test_what_cannot_be_read_is_unscored_with_the_reason(
    server: ChatServer, shards: Path, tmp_path: Path, reply: str | dict[str, Any], reason: str, requests: int
) -> None:
    server.say = lambda body: reply if isinstance(reply, str) else {"choices": [{"index": 0} | reply]}
    evaluate(scorer(server, mode="single"), shards, tmp_path)
    rows = read_scores(tmp_path).rows
    assert rows["score"].null_count() == 40
    assert rows["reason"].unique().to_list() == [reason]
    assert sum(server.received.values()) == requests * PAIRS


def test_a_finished_or_repeated_run_asks_nothing_again(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    evaluate(scorer(server, cache=str(tmp_path / "replies.sqlite")), shards, tmp_path / "a")
    evaluate(scorer(server, cache=str(tmp_path / "replies.sqlite")), shards, tmp_path / "a")
    evaluate(scorer(server, cache=str(tmp_path / "replies.sqlite")), shards, tmp_path / "b")
    assert sum(server.received.values()) == REQUESTS
    assert (tmp_path / "a/scores.parquet").exists()
    evaluate(scorer(server, cache=str(tmp_path / "replies.sqlite"), repeat=1), shards, tmp_path / "c")
    assert sum(server.received.values()) == 2 * REQUESTS


def test_a_budget_stops_the_run_and_a_larger_one_resumes(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="Raise it and run the same command again"):
        evaluate(scorer(server, limits=Limits(max_requests=20)), shards, tmp_path)
    assert sum(server.received.values()) == 20
    evaluate(scorer(server, limits=Limits(max_requests=REQUESTS, concurrency=2)), shards, tmp_path)
    assert sum(server.received.values()) == REQUESTS
    assert read_scores(tmp_path).rows["score"].null_count() == 0
    with pytest.raises(RunFolderError):
        evaluate(scorer(server, temperature=0.0), shards, tmp_path)


def test_one_request_that_always_fails_stops_the_run_or_is_left_out(
    server: ChatServer, shards: Path, tmp_path: Path
) -> None:
    unlucky = itertools.count()
    broken: set[str] = set()

    def fault(body: dict[str, Any], earlier: int) -> str | None:
        if next(unlucky) == 7:
            broken.add(json.dumps(body))
        return "500" if json.dumps(body) in broken else None

    server.fault = fault
    limits = Limits(attempts=2)
    with pytest.raises(EndpointError, match="asked 2 times"):
        evaluate(scorer(server, mode="single", limits=limits), shards, tmp_path)
    evaluate(scorer(server, mode="single", limits=limits, on_failure="unscored"), shards, tmp_path)
    rows = read_scores(tmp_path).rows
    assert rows.filter(rows["score"].is_null())["reason"].unique().to_list() == ["endpoint_error"]
    assert rows.filter(rows["score"].is_null())["video"].n_unique() == 1
    assert sum(server.received.values()) == PAIRS - 1 + 4
    broken.clear()  # the endpoint is up again; the replies that came are in the cache
    evaluate(scorer(server, mode="single", limits=limits, on_failure="unscored"), shards, tmp_path)
    assert read_scores(tmp_path).rows["score"].null_count() == 0
    assert sum(server.received.values()) == PAIRS + 4


def test_the_transcript_of_every_video_is_in_the_run_folder_and_in_the_page(
    server: ChatServer, shards: Path, tmp_path: Path
) -> None:
    evaluate(scorer(server), shards, tmp_path / "run")
    texts = [path.read_text() for path in (tmp_path / "run/transcripts").glob("*.txt")]
    assert len(texts) == 13
    (shared,) = (text for text in texts if "shared v1.0.mp4" in text)
    assert shared.count("=== toy/") == 2
    assert "[3 frames]" in shared
    assert "base64" not in shared
    files = [{path.stem for path in (tmp_path / "run").glob(kind)} for kind in ("transcripts/*.txt", "examples/*.mp4")]
    assert files[0] == files[1]  # the page puts them side by side by these names
    page = write_report([tmp_path / "run"], tmp_path / "report").read_text()
    assert page.count('<details class="transcript" ') == 13


def test_a_dry_run_asks_nothing_and_counts_what_would_be_asked(
    server: ChatServer, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = Limits(input_price=1000.0)
    evaluate(scorer(server, limits=limits), shards, tmp_path / "run", dry_run=True)
    said = capsys.readouterr().out
    assert f"tiny would send {REQUESTS} requests, {3 * PAIRS} images, about" in said
    assert "$" in said
    assert not server.received
    assert not (tmp_path / "run").exists()
    evaluate(scorer(server, limits=limits), shards, tmp_path / "run")
    images = sum(str(body).count("image_url'") for body in server.bodies) // 2
    assert (sum(server.received.values()), images) == (REQUESTS, 3 * PAIRS)


def test_a_dry_run_with_controls_counts_every_order(
    server: ChatServer, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = []
    for controls in ((), ("static", "reversed")):
        limits = Limits(input_price=1000.0, output_price=4000.0)
        evaluate(scorer(server, limits=limits), shards, tmp_path / "run", dry_run=True, controls=controls)
        said = capsys.readouterr().out
        planned.append([float(size.replace(",", "")) for size in re.findall(r"[\d,.]*\d", said)[:5]])
    assert planned[1] == pytest.approx([3 * size for size in planned[0]], abs=0.015)  # dollars are rounded to cents
    assert "for 3 orders of frames (forward, static, reversed)." in said
    judge = scorer(server)
    evaluate(judge, shards, tmp_path / "run", controls=["static", "reversed"])
    images = sum(str(body).count("image_url'") for body in server.bodies) // 2
    assert [sum(server.received.values()), images] == planned[1][:2]


def test_the_key_is_in_no_file(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    evaluate(scorer(server, key_variable="OPENAI_API_KEY"), shards, tmp_path)
    assert server.keys == {f"Bearer {SECRET}"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    init_args = yaml.safe_load((tmp_path / "config.yaml").read_text())["model"]["init_args"]
    assert init_args["model"] == "tiny"
    assert "limits" not in init_args


def test_a_provider_s_key_goes_to_no_other_address(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    assert scorer(server).key_variable is None
    assert ChatScorer("gpt-4o").key_variable == "OPENAI_API_KEY"
    evaluate(scorer(server), shards, tmp_path)
    assert server.keys == {"Bearer no-key"}


def test_a_clip_is_scored_without_a_run(server: ChatServer, dataset: Path, tmp_path: Path) -> None:
    video = next((dataset / "videos").rglob("*.mp4"))
    with pytest.raises(ValueError, match='give a file such as cache="replies.sqlite"'):
        scorer(server).score_video(video, ["We see a ball", "We see a cup"])
    chat = scorer(server, cache=str(tmp_path / "replies.sqlite"))
    assert set(chat.score_video(video, ["We see a ball", "We see a cup"])) == {"We see a ball", "We see a cup"}
    chat.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "chat"]


def test_nothing_runs_on_after_a_run(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    evaluate(scorer(server), shards, tmp_path / "a")
    with pytest.raises(BudgetError):
        evaluate(scorer(server, limits=Limits(max_requests=1)), shards, tmp_path / "b")
    assert not [thread for thread in threading.enumerate() if thread.name == "chat"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jpeg_quality": 0}, "`jpeg_quality`: expected 1 to 95"),
        ({"num_frames": 0}, "`num_frames`: expected at least 1"),
        ({"parameters": {"stream": True}}, r"`parameters\.stream`: expected no such field"),
        ({"parameters": {"messages": []}}, r"`parameters\.messages`: expected no such field"),
        ({"parameters": {"max_tokens": "4k"}}, "`max_tokens`: expected a whole number of at least 1, got '4k'"),
        ({"max_tokens": 0}, "`max_completion_tokens`: expected a whole number of at least 1, got 0"),
        ({"temperature": math.nan}, "`temperature`: expected JSON, got nan"),
        ({"parameters": {"day": date(2024, 1, 1)}}, "`day`: expected JSON, got datetime.date.* Quote texts and dates"),
    ],
)
def test_wrong_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChatScorer("tiny", **settings)


def batch_of(videos: int, problem_sets: int) -> VideoBatch:
    """Videos of noise, each in several problem sets."""
    frames = torch.randint(0, 255, (videos, 1, 3, 8, 8), dtype=torch.uint8)
    sets = tuple(
        Candidates(f"toy/level_1/objects/{number}", ("a", "b"), (f"We see {number}", f"We hear {number}"))
        for number in range(problem_sets)
    )
    questions = tuple(Question(f"toy/{number}.mp4", sets, None) for number in range(videos))
    return VideoBatch(frames, ((0,),) * videos, questions)


@pytest.mark.parametrize("videos", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_pairs_at_an_ill_behaved_endpoint_are_neither_lost_nor_asked_twice(
    server: ChatServer, tmp_path: Path, videos: int
) -> None:
    server.fault = faults_now_and_then(0.15)
    settings = {"limits": Limits(attempts=20), "cache": str(tmp_path / "replies.sqlite")}
    chat = scorer(server, mode="single", **settings)
    chat.setup("predict")
    scores = chat.score(batch_of(videos, 2))
    chat.teardown("predict")
    assert sum(not row.values.isnan().any() for sets in scores for row in sets) == 2 * videos
    assert (len(server.answered), set(server.answered.values())) == (2 * videos, {1})
    with sqlite3.connect(tmp_path / "replies.sqlite") as connection:
        assert connection.execute("SELECT COUNT(*) FROM replies").fetchone() == (2 * videos,)


@pytest.mark.slow
def test_runs_killed_at_any_moment_repeat_no_finished_request(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    evaluate(scorer(server, limits=Limits(concurrency=2)), shards, tmp_path / "undisturbed")
    server.received.clear()
    server.latency = 0.05
    for requests in (8, 20, 37):
        assert killed_at(server, requests, shards, tmp_path / "killed")
    assert not killed_at(server, 1000, shards, tmp_path / "killed")
    for name in ("scores.parquet", "examples/examples.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    for path in (tmp_path / "undisturbed" / "transcripts").iterdir():
        assert (tmp_path / "killed" / "transcripts" / path.name).read_text() == path.read_text()
    assert sum(server.received.values()) <= REQUESTS + 2 * 3  # again only those that were under way at a kill


def test_without_a_key_nothing_stays_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    closed = []
    monkeypatch.setattr("lightning_vista.scorers.chat.reply_cache.ReplyCache.close", lambda cache: closed.append(cache))
    chat = ChatScorer("tiny", cache=str(tmp_path / "replies.sqlite"), num_frames=2, size=16)
    threads = threading.active_count()
    for number in (1, 2):
        with pytest.raises(PermissionError, match="needs a key"):
            chat.score_clips(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8), ["We see a", "We see b"])
        chat.close()
        assert len(closed) == number
    assert threading.active_count() <= threads  # those of earlier tests may end meanwhile


def test_workers_encode_the_frames_and_replies_are_the_same(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    chat = scorer(server, mode="single", jpeg_quality=80)
    data = ViSTaDataModule(str(shards), chat.frame_spec, batch_size=5, num_workers=1)
    data.setup("test")
    batches = list(data.test_dataloader())
    pixels = ViSTaDataModule(str(shards), FrameSpec(3, size=16), batch_size=5, num_workers=0)
    pixels.setup("test")
    for batch, plain in zip(batches, pixels.test_dataloader(), strict=True):
        assert (tuple(batch.frames.shape), batch.videos) == ((len(plain), 0, 3, 0, 0), plain.videos)
        assert batch.jpegs == tuple(tuple(encode_jpeg(frame, 80) for frame in video) for video in plain.frames)
        assert batch.without_targets().to("cpu").jpegs == batch.jpegs
    chat.cache = str(tmp_path / "replies.sqlite")
    found = [row.values.tolist() for batch in batches for sets in chat.score(batch) for row in sets]
    asked = sum(server.received.values())
    again = [row.values.tolist() for batch in pixels.test_dataloader() for sets in chat.score(batch) for row in sets]
    chat.close()
    assert found == again
    assert sum(server.received.values()) == asked == PAIRS  # the same requests to the byte, so from the cache


def test_videos_of_different_sizes_share_a_batch_as_files() -> None:
    frames = [torch.zeros(2, 3, height, 8, dtype=torch.uint8) for height in (8, 16)]
    candidates = Candidates("toy/level_1/objects/a", ("a", "b"), ("We see a", "We see b"))
    samples = [
        Sample(str(number), f"toy/{number}.mp4", "000000.tar", 0, 1, "0", (Membership(candidates.problem_set, ("a",)),))
        for number in range(2)
    ]
    items = [DecodedVideo(sample, each, (0, 1), (0.0, 1.0)) for sample, each in zip(samples, frames, strict=True)]
    with pytest.raises(ValueError, match="differ in size"):
        collate_videos(items, {candidates.problem_set: candidates})
    batch = collate_videos(items, {candidates.problem_set: candidates}, jpeg_quality=90)
    assert batch.jpegs is not None
    assert [decode_jpeg(files[0]).shape[1] for files in batch.jpegs] == [8, 16]


def test_controls_of_order_reach_frames_that_workers_encoded(server: ChatServer, shards: Path, tmp_path: Path) -> None:
    chat = scorer(server, mode="single")
    datamodule = ViSTaDataModule(str(shards), chat.frame_spec, batch_size=5, num_workers=0)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Evaluation(str(tmp_path), controls=["reversed"])],
    )
    trainer.test(chat, datamodule, verbose=False)

    def shown(body: dict[str, Any]) -> tuple[str, ...]:
        return tuple(part["image_url"]["url"] for part in body["messages"][-1]["content"] if "image_url" in part)

    frames = [shown(body) for body in server.bodies]
    assert {row[::-1] for row in frames} == {*frames}
    assert len({*frames}) > len({frozenset(row) for row in frames})
