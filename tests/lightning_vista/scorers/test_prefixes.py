"""Prefixes of a video whose frames tell their number."""

import re
from collections.abc import Callable, Sequence

import pytest
import torch
from numbered_clips import numbered_clip, read_number

from lightning_vista.scorers import Scores, VLMScorer, score_prefixes
from lightning_vista.scorers.chat.chat_model import Reply, Request
from lightning_vista.scorers.chat.conversation import Conversation, Verdict, in_rounds
from lightning_vista.scorers.chat.frame_values import parse_values
from lightning_vista.scorers.chat.parsing import UnreadableReply
from lightning_vista.scorers.chat.scorer import ConversationScorer
from lightning_vista.video import FrameSpec, sample_indices
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.vista.batch import VideoBatch

FRAMES, RATE = 21, 10
TASK = "First, we open the box, then we take the key, and finally we close the box"


@pytest.fixture(scope="module")
def clip() -> bytes:
    return numbered_clip("mp4", "libx264", FRAMES, RATE)


class LastNumber(VLMScorer):
    """Scores with the number of the last frame, times the number of steps; remembers the numbers of all frames."""

    def __init__(self, num_frames: int = 4, sampling: str = "uniform", unscored_from: int = FRAMES) -> None:
        super().__init__()
        self.frame_spec = FrameSpec(num_frames, sampling, size=None)  # type: ignore[arg-type]
        self.unscored_from = unscored_from
        self.seen: list[list[int]] = []
        self.times: list[tuple[float, ...]] = []

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        self.times = list(batch.times)
        self.seen = [[read_number(frame.permute(1, 2, 0).numpy()) for frame in video] for video in batch.frames]
        return [
            [self._scores(numbers[-1], candidates.descriptions) for candidates in sets]
            for numbers, sets in zip(self.seen, batch.candidates, strict=True)
        ]

    def _scores(self, number: int, descriptions: tuple[str, ...]) -> Scores:
        values = torch.tensor([float(number * (text.count(" we ") or 1)) for text in descriptions])
        return Scores(values * torch.nan, "refusal") if number >= self.unscored_from else Scores(values)


@pytest.mark.parametrize("points", [3, 5, FRAMES])
def test_prefixes_grow_from_one_frame_to_the_whole_video(clip: bytes, points: int) -> None:
    scorer = LastNumber()
    found = scorer.progress(clip, "We open the box", points)
    assert len(found.values) == points
    assert (found.frames[0], found.frames[-1]) == (1, FRAMES)
    assert scorer.seen == [sample_indices(end, 4) for end in found.frames]
    assert found.values == tuple(end - 1 for end in found.frames)
    assert found.times == pytest.approx([(end - 1) / RATE for end in found.frames])
    assert scorer.times[-1] == pytest.approx([index / RATE for index in sample_indices(FRAMES, 4)])
    assert found.value_order == 1.0
    assert found.steps == ()


def test_steps_are_scored_one_after_the_other(clip: bytes) -> None:
    found = LastNumber().progress(clip, TASK, points=3, per_step=True)
    assert [description for description, _ in found.steps] == [
        "We open the box",
        "First, we open the box, and then we take the key",
        TASK,
    ]
    assert [values for _, values in found.steps] == [(0, 10, 20), (0, 20, 40), (0, 30, 60)]
    assert found.values == (0, 30, 60)


def test_values_between_the_points_lie_on_lines(clip: bytes) -> None:
    found = LastNumber().progress(clip, "We open the box", points=3)
    assert found.per_frame() == pytest.approx(list(range(FRAMES)))


def test_a_point_without_a_score_is_nan_and_has_no_order(clip: bytes) -> None:
    found = LastNumber(unscored_from=15).progress(clip, "We open the box", points=5)
    assert [value == value for value in found.values] == [True] * 3 + [False] * 2
    with pytest.raises(ValueError, match="expected finite numbers"):
        _ = found.value_order


@pytest.mark.parametrize(
    ("points", "sampling", "message"),
    [
        (2, "uniform", "`points`: expected at least 3, got 2"),
        (FRAMES + 1, "uniform", rf"`video`: expected at least as many frames as points \(22\), got {FRAMES}"),
        (5, "stride", "`frame_spec`: expected uniform sampling to score prefixes"),
    ],
)
def test_what_gives_no_curve_is_refused(clip: bytes, points: int, sampling: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_prefixes(LastNumber(sampling=sampling), clip, "We open the box", points)


class Reader(ConversationScorer):
    """A chat model that reads the numbers in the pictures; `say` makes its reply of them."""

    def __init__(self, say: Callable[[Sequence[int]], str]) -> None:
        super().__init__("single", 95, "reader")
        self.frame_spec = FrameSpec(4, size=None)
        self.say = say
        self.asked: list[Request] = []

    def hold(self, conversations: Sequence[Conversation]) -> list[Verdict]:
        return in_rounds(conversations, lambda requests: [self._answer(request) for request in requests])

    def _answer(self, request: Request) -> Reply:
        self.asked.append(request)
        images = request.messages[0].images
        return Reply(self.say([read_number(decode_jpeg(image).permute(1, 2, 0).numpy()) for image in images]))


def percent(numbers: Sequence[int]) -> str:
    first, *others = numbers
    assert first == 0
    return "\n".join(f"Frame {place}: {number * 5} %" for place, number in enumerate(others, 1))


def test_shuffled_frames_get_their_own_values_in_the_order_of_time(clip: bytes) -> None:
    shown: list[list[int]] = []
    reader = Reader(lambda numbers: (shown.append(list(numbers)), percent(numbers))[1])  # type: ignore[func-returns-value]
    found = reader.shuffled_progress(clip, TASK, points=6)
    assert found.frames == (1, 5, 9, 13, 17, 21)
    assert found.values == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert shown[0][1:] != sorted(shown[0][1:])
    assert reader.shuffled_progress(clip, TASK, points=6, seed=1).values == found.values
    assert shown[1] != shown[0]
    assert TASK in reader.asked[0].messages[0].text


def test_a_model_that_counts_upwards_is_found_out(clip: bytes) -> None:
    counting = Reader(lambda numbers: "\n".join(f"Frame {place}: {place * 15}%" for place in range(1, len(numbers))))
    orders = [counting.shuffled_progress(clip, TASK, points=7, seed=seed).value_order for seed in range(8)]
    assert abs(sum(orders) / len(orders)) < 0.7
    assert max(orders) < 1


def test_an_unreadable_reply_is_asked_for_once_more_and_then_unscored(clip: bytes) -> None:
    reader = Reader(lambda numbers: "It goes well")
    found = reader.shuffled_progress(clip, TASK, points=4)
    assert found.values[0] == 0
    assert [value == value for value in found.values[1:]] == [False] * 3
    assert len(reader.asked) == 2
    assert "gives no value to frame 1" in reader.asked[1].messages[-1].text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Frame 1: 40 %", "no value to frame 2"),
        ("Frame 1: 40 %\nFrame 2: 101 %", "frame 2 is not from 0 to 100"),
        ("Frame 1: 40 %\nFrame 2: -5 %", "frame 2 is not from 0 to 100"),
        ("Frame 1: 40 %\nFrame 1: 50 %\nFrame 2: 60 %", "different values to frame 1"),
        ("I'm sorry, I cannot help with that.", "declines"),
    ],
)
def test_doubtful_values_are_not_guessed_at(text: str, problem: str) -> None:
    with pytest.raises(UnreadableReply, match=re.escape(problem)):
        parse_values(Reply(text), 2)


@pytest.mark.parametrize(
    "text",
    ["Frame 1: 40 %\nFrame 2: 60 %", "**Frame 1**: 40%\n**Frame 2**: 60%", "- frame 1 = 40\n- Frame 2: 60 percent."],
)
def test_usual_forms_are_read(text: str) -> None:
    assert parse_values(Reply(text), 2) == pytest.approx((0.4, 0.6))
