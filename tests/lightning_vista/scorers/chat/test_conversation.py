import pytest

from lightning_vista.scorers.chat.chat_model import Reply, Request
from lightning_vista.scorers.chat.conversation import ChatMode, Conversation, Verdict, converse, in_rounds, transcript
from lightning_vista.vista.batch import Candidates

FRAMES = [b"first", b"second"]
CANDIDATES = Candidates(
    "home/level_2/remix/a",
    ("ab", "ba"),
    ("First, we go to a,\nand then to $b {b}", "First, we go to b, and then to a"),
    hint="Watch the doors.",
    example="1. A door opens.",
)
SCORES = Reply("ab: 5\nba: 1")


def hold(conversation: Conversation, replies: list[Reply]) -> Verdict:
    """The verdict of a conversation with a model that has these replies, all of which it needs."""
    next(conversation)
    for number, reply in enumerate(replies):
        try:
            conversation.send(reply)
        except StopIteration as end:
            assert number + 1 == len(replies)
            verdict: Verdict = end.value
            return verdict
    raise AssertionError("the conversation has not ended")


def test_three_stages_of_which_only_the_first_shows_the_frames() -> None:
    replies = [Reply("1. A door.\n2. Another."), Reply("ab fits."), SCORES]
    verdict = hold(converse("stages", FRAMES, CANDIDATES), replies)
    assert verdict.scores == (5.0, 1.0)
    assert verdict.reason is None
    describe, match, score = (request for request, _ in verdict.turns)
    assert [describe.images, match.images, score.images] == [2, 0, 0]
    (message,) = describe.messages
    assert message.images == (b"first", b"second")
    assert all(text in message.text for text in ("Watch the doors.", "1. A door opens.", "2 frames"))
    assert "go to a" not in message.text  # a description of the frames must not know what to look for
    (message,) = match.messages
    assert all(text in message.text for text in ("2. Another.", "ab: First, we go to a, and then to $b {b}\nba: First"))
    assert [message.role for message in score.messages] == ["user", "assistant", "user"]
    assert score.messages[:2] == (match.messages[0], score.messages[1])
    assert score.messages[1].text == "ab fits."
    assert "ab: <score>\nba: <score>" in score.messages[2].text


def test_one_question_for_everything() -> None:
    verdict = hold(converse("single", FRAMES, CANDIDATES), [Reply('{"scores": {"ab": 2, "ba": 4}}')])
    assert verdict.scores == (2.0, 4.0)
    ((request, _),) = verdict.turns
    assert request.images == 2
    assert request.scored_labels == ("ab", "ba")
    text = request.messages[0].text
    assert all(part in text for part in ("Watch the doors.", "ba: First, we go to b", '{"ab": <score>, "ba": <score>}'))


def test_without_a_hint_and_an_example_the_prompt_has_no_gaps() -> None:
    request = next(converse("stages", FRAMES, Candidates("a/level_1/b/c", ("x",), ("We see x",))))
    assert "\n\n\n" not in request.messages[0].text
    assert "Describe each frame" in request.messages[0].text


@pytest.mark.parametrize(
    ("replies", "requests"),
    [
        ([Reply("1. Door."), Reply("It fits."), Reply("ab: 5"), SCORES], 4),
        ([Reply(""), Reply("1. Door."), Reply("It fits."), SCORES], 4),
        ([Reply("1. Do", "length"), Reply("1. Door."), Reply("No.", "refusal"), Reply("It fits."), SCORES], 5),
    ],
)
def test_an_unusable_reply_is_asked_for_once_more(replies: list[Reply], requests: int) -> None:
    verdict = hold(converse("stages", FRAMES, CANDIDATES), replies)
    assert verdict.scores == (5.0, 1.0)
    assert len(verdict.turns) == requests


def test_what_was_wrong_is_said() -> None:
    verdict = hold(converse("single", FRAMES, CANDIDATES), [Reply("ab: 5"), SCORES])
    first, again = (request for request, _ in verdict.turns)
    assert again.messages[:1] == first.messages
    assert again.messages[1].text == "ab: 5"
    assert "it gives no score to ba" in again.messages[2].text
    assert again.scored_labels == first.scored_labels


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([Reply("ab: 5"), Reply("ab: 5")], "parse_error"),
        ([Reply(""), Reply("")], "parse_error"),
        ([Reply("I'm sorry, I can't."), Reply("", "refusal")], "refusal"),
        ([Reply("ab: 5"), Reply("ab: 5\nba: 1", "length")], "truncated"),
    ],
)
def test_twice_unusable_is_unscored_with_the_reason(replies: list[Reply], reason: str) -> None:
    verdict = hold(converse("single", FRAMES, CANDIDATES), replies)
    assert (verdict.scores, verdict.reason) == (None, reason)
    assert len(verdict.turns) == 2


@pytest.mark.parametrize("mode", ["stages", "single"])
def test_many_conversations_are_held_in_rounds(mode: ChatMode) -> None:
    asked: list[list[Request]] = []

    def answer(requests: list[Request]) -> list[Reply]:
        asked.append(requests)
        unclear = ["hard" in r.messages[0].text and "<score>" in r.messages[-1].text for r in requests]
        return [Reply("Hm.") if each else SCORES for each in unclear]

    easy = Candidates("home/level_2/remix/b", ("ab", "ba"), ("Easily a, then b", "Easily b, then a"))
    hard = Candidates("home/level_2/remix/c", ("ab", "ba"), ("A hard a, then b", "A hard b, then a"))
    verdicts = in_rounds([converse(mode, FRAMES, one) for one in (easy, hard, easy)], answer)  # type: ignore[arg-type]
    assert [verdict.scores for verdict in verdicts] == [(5, 1)] * 3
    assert len(verdicts[1].turns) == len(verdicts[0].turns) + 1
    # Equal requests are asked once: all describe the same frames, with the same hint, in the first of three stages.
    assert [len(requests) for requests in asked] == ([1, 2, 2, 1] if mode == "stages" else [2, 1])


def test_the_transcript_tells_everything_once() -> None:
    replies = [Reply("1. Door."), Reply("It fits."), Reply("ab: 5", "length"), SCORES]
    scored = hold(converse("stages", FRAMES, CANDIDATES), replies)
    unscored = hold(converse("single", FRAMES, CANDIDATES), [Reply("One."), Reply("Two.")])
    first, second = transcript(scored) + "\n", transcript(unscored)
    assert first.startswith("--- user\n")
    assert (first + second).count("[2 frames]") == 2
    assert "ab: 5\n[ended: length]" in first
    assert [first.count(reply.text + "\n") for reply in replies] == [2, 1, 2, 1]  # descriptions are part of a question
    assert [second.count(said) for said in ("--- assistant\nOne.", "--- assistant\nTwo.", "--- user")] == [1, 1, 2]
