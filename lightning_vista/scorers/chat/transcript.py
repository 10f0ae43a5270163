"""What was said about a video, for people to read."""

from collections.abc import Iterable

from lightning_vista.scorers.chat.conversation import Verdict
from lightning_vista.scorers.chat.messages import Message


def transcript(video: str, verdicts: Iterable[tuple[str, Verdict]]) -> str:
    """The text of all conversations about a video.

    Args:
        video: Its path.
        verdicts: The id of each problem set that it is in, with what came of the conversation.

    Returns:
        Plain text; a message that was said before in the same conversation is not repeated.
    """
    parts = [f"Video: {video}"]
    for problem_set, verdict in verdicts:
        outcome = f"unscored: {verdict.reason}" if verdict.scores is None else "scored"
        parts += [f"=== {problem_set} ({outcome})", *_said(verdict)]
    return "\n\n".join(parts) + "\n"


def _said(verdict: Verdict) -> Iterable[str]:
    told: set[Message] = set()
    for request, reply in verdict.turns:
        answer = Message("assistant", reply.text)
        yield from (_shown(message) for message in request.messages if message not in told)
        ended = "" if reply.finish == "stop" else f"\n[ended: {reply.finish}]"
        yield _shown(answer) + ended
        told |= {*request.messages, answer}


def _shown(message: Message) -> str:
    images = f"\n[{len(message.images)} frames]" if message.images else ""
    return f"--- {message.role}\n{message.text}{images}"
