"""Values of shuffled frames: the question of GVL, with which a chat model cannot just count upwards."""

import random
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lightning_vista.evaluation.progress_file import Progress
from lightning_vista.scorers.chat.chat_model import Message, Reply, Request
from lightning_vista.scorers.chat.conversation import Conversation, Turn, Verdict, fill_prompt
from lightning_vista.scorers.chat.parsing import UnreadableReply, read_text
from lightning_vista.scorers.prefixes import decode_prefixes
from lightning_vista.video import FrameSpec
from lightning_vista.video.encoding import encode_jpeg

if TYPE_CHECKING:
    from lightning_vista.scorers.chat.scorer import ConversationScorer

_HIGHEST = 100
_LINE = re.compile(
    r"^[^\w\n]*frame\W*(?P<frame>\d+)\W*?[:=|-][\s*]*(?P<value>-?\d+(?:\.\d+)?)[ \t]*+(?:%|percent)?[^\w\n]*+$",
    re.IGNORECASE | re.MULTILINE,
)


def parse_values(reply: Reply, num_frames: int) -> tuple[float, ...]:
    r"""Read the percentage of every frame in a reply.

    Args:
        reply: Reply with lines such as "Frame 2: 40 %".
        num_frames: Number of frames, which are numbered from 1.

    Returns:
        Shares from 0 to 1, in the order of the frames.

    Raises:
        UnreadableReply: If a frame lacks a value, has two different ones, or has one outside of 0 to 100; or if the
            reply is empty, was cut off, or declines to answer.

    Example:
        >>> parse_values(Reply("Frame 2: 80%\nFrame 1: 5 %"), 2)
        (0.05, 0.8)
    """
    found: dict[int, set[float]] = {}
    for match in _LINE.finditer(read_text(reply)):
        found.setdefault(int(match["frame"]), set()).add(float(match["value"]))
    for frame in range(1, num_frames + 1):
        values = found.get(frame, set())
        if len(values) != 1:
            problem = f"gives different values to frame {frame}" if values else f"gives no value to frame {frame}"
            raise UnreadableReply("parse_error", f"it {problem}")
        if not 0 <= min(values) <= _HIGHEST:
            raise UnreadableReply("parse_error", f"the value of frame {frame} is not from 0 to {_HIGHEST}")
    return tuple(found[frame].pop() / _HIGHEST for frame in range(1, num_frames + 1))


def ask_values(first: bytes, frames: Sequence[bytes], description: str) -> Conversation:
    """Start a conversation that asks how much of a task is done at the moment of each frame.

    An unusable reply is requested once more; if that fails as well, the verdict does not hold scores.

    Args:
        first: First frame of the video, as a JPEG file.
        frames: Other frames in random order, as JPEG files.
        description: Description of the task.

    Returns:
        The conversation; its scores are shares from 0 to 1, one for each of `frames`.

    Example:
        >>> conversation = ask_values(b"jpeg", [b"other"], "We open the box")
        >>> next(conversation).images
        2
        >>> try:
        ...     _ = conversation.send(Reply("Frame 1: 75 %"))
        ... except StopIteration as end:
        ...     end.value.scores
        (0.75,)
    """
    form = "\n".join(f"Frame {number}: <percent> %" for number in range(1, len(frames) + 1))
    text = fill_prompt("values", description=description, num_frames=len(frames), form=form)
    return _ask(Request((Message("user", text, (first, *frames)),)), len(frames))


def _ask(request: Request, num_frames: int) -> Generator[Request, Reply, Verdict]:
    """Ask, a second time if the reply cannot be read."""
    turns: list[Turn] = []
    while True:
        reply = yield request
        turns.append((request, reply))
        try:
            return Verdict(parse_values(reply, num_frames), None, tuple(turns))
        except UnreadableReply as fault:
            if len(turns) == 2:
                return Verdict(None, fault.reason, tuple(turns))
            said = Message("assistant", reply.text or "(no reply)")  # many chat templates refuse an empty turn
            request = Request((*request.messages, said, Message("user", fill_prompt("again", problem=fault))))


@torch.no_grad()
def value_shuffled_frames(
    scorer: "ConversationScorer", video: str | Path | bytes, description: str, points: int = 8, seed: int = 0
) -> Progress:
    """Ask a chat model for the progress at frames of a video that it sees in random order (GVL, section 3).

    The model is told that nothing is done at the first frame, whose value is 0; the others are shuffled.

    Args:
        scorer: Chat scorer.
        video: Path or content of a video file.
        description: Description of the task.
        points: Number of frames, at least 3 and at most those of the video.
        seed: Random seed of the order.

    Returns:
        Values from 0 to 1 in the order of time; those after the first are NaN if the reply cannot be used.

    Raises:
        ValueError: If there are too few points or frames.
        VideoError: If the video cannot be decoded.
    """
    size = scorer.frame_spec.size
    # With one frame, `uniform` takes a prefix's first; so the last of two is taken.
    shown, ends, times = decode_prefixes(video, FrameSpec(num_frames=2, size=size), points)
    first, *others = (encode_jpeg(frames[-1], scorer.jpeg_quality) for frames in shown)
    order = random.Random(seed).sample(range(len(others)), len(others))
    (verdict,) = scorer.hold([ask_values(first, [others[place] for place in order], description)])
    given = verdict.scores or (float("nan"),) * len(others)
    by_time = dict(zip(order, given, strict=True))
    values = (0.0, *(by_time[place] for place in range(len(others))))
    return Progress(description, tuple(ends), tuple(times[end - 1] for end in ends), values)
