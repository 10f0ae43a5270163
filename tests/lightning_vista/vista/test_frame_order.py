from itertools import permutations

import pytest
import torch

from lightning_vista.vista.batch import Candidates, Question, VideoBatch
from lightning_vista.vista.frame_order import CONTROLS, check_controls, control_positions, reorder_frames

pytestmark = pytest.mark.portable


def batch_of(*videos: str, frames: int = 4) -> VideoBatch:
    """Frames of one value each, `10 * video + frame`, with indices `3 * frame` and times `frame / 2`."""
    values = torch.tensor([[10 * number + frame for frame in range(frames)] for number in range(len(videos))])
    candidates = (Candidates("toy/level_2/remix/a", ("a", "b"), ("We see a", "We see b")),)
    questions = [Question(video, candidates, ((True, False),)) for video in videos]
    pixels = values.byte().reshape(-1, frames, 1, 1, 1).expand(-1, -1, 3, 2, 2)
    indices, times = [3 * frame for frame in range(frames)], [frame / 2 for frame in range(frames)]
    damaged = (Question("damaged.mp4", candidates, ((True, False),)), "cut short")
    return VideoBatch(pixels, [indices] * len(videos), questions, [damaged], [times] * len(videos))


@pytest.mark.parametrize(
    ("control", "frames", "expected"),
    [
        ("reversed", 4, [3, 2, 1, 0]),
        ("static", 4, [1, 1, 1, 1]),
        ("static", 5, [2, 2, 2, 2, 2]),
        ("first_last", 4, [0, 0, 3, 3]),
        ("first_last", 5, [0, 0, 0, 4, 4]),
        ("first_last", 2, [0, 1]),
    ],
)
def test_a_control_shows_these_frames_with_their_own_indices_and_times(
    control: str, frames: int, expected: list[int]
) -> None:
    batch = batch_of("a.mp4", "b.mp4", frames=frames)
    shown = reorder_frames(batch, control)  # type: ignore[arg-type] # a word of the parameters above
    assert shown.frames[:, :, 2, 1, 1].tolist() == [expected, [10 + frame for frame in expected]]
    assert shown.frame_indices == (tuple(3 * frame for frame in expected),) * 2
    assert shown.times == (tuple(frame / 2 for frame in expected),) * 2
    assert (shown.questions, shown.unreadable) == (batch.questions, batch.unreadable)
    assert batch.frames[0, :, 0, 0, 0].tolist() == list(range(frames))  # the batch itself is unchanged


def test_shuffled_depends_on_the_video_alone_and_every_order_occurs() -> None:
    names = [f"home/{number}.mp4" for number in range(600)]
    orders = [tuple(control_positions("shuffled", 3, name)) for name in names]
    counts = {order: orders.count(order) for order in permutations(range(3))}
    assert sum(counts.values()) == 600
    assert all(60 < count < 140 for count in counts.values())  # 100 expected, standard deviation 9
    together = reorder_frames(batch_of(*names[:2], frames=3), "shuffled")
    alone = reorder_frames(batch_of(names[1], frames=3), "shuffled")
    assert together.frames[1, :, 0, 0, 0].tolist() == [10 + value for value in alone.frames[0, :, 0, 0, 0].tolist()]
    assert together.frame_indices[1] == alone.frame_indices[0] == tuple(3 * place for place in orders[1])


@pytest.mark.parametrize("control", CONTROLS)
def test_a_batch_without_readable_videos_stays_one(control: str) -> None:
    empty = VideoBatch(torch.empty(0, 0, 3, 0, 0).byte(), (), (), batch_of("a.mp4").unreadable)
    shown = reorder_frames(empty, control)  # type: ignore[arg-type] # a word of the parameters above
    assert (len(shown), shown.unreadable) == (0, empty.unreadable)


def test_unknown_and_repeated_controls_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`controls`: expected one of 'reversed', .*Did you mean 'shuffled'\?"):
        check_controls(["reversed", "shufled"])
    with pytest.raises(ValueError, match="`controls`: expected each control once, got static, static"):
        check_controls(["static", "static"])
    with pytest.raises(ValueError, match="`control`: expected one of"):
        reorder_frames(batch_of("a.mp4"), "forward")  # type: ignore[arg-type] # on purpose
    with pytest.raises(ValueError, match="`num_frames`: expected at least 1, got 0"):
        control_positions("static", 0)
