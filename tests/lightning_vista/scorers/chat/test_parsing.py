import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_vista.scorers.chat.chat_model import Reply
from lightning_vista.scorers.chat.frame_values import parse_values
from lightning_vista.scorers.chat.parsing import UnreadableReply, parse_scores, read_text

LABELS = ("label_1", "label_10", "b")
READ = (4.0, 1.0, 0.0)

GOOD = [
    "label_1: 4\nlabel_10: 1\nb: 0",
    "label_10: 1\nlabel_1: 4\nb: 0",
    "b:0\nlabel_10:1\nlabel_1:4",
    "  label_1 :  4  \n  label_10 :  1\n  b : 0",
    "label_1: 4/5\nlabel_10: 1/5\nb: 0/5",
    "label_1: 4 / 5\nlabel_10: 1 out of 5\nb: 0 of 5",
    "label_1: 4.0\nlabel_10: 1.\nb: 0.",
    "label_1: 4 points\nlabel_10: 1 point\nb: 0 points",
    "label_1: 4 (3 of 4 steps are seen)\nlabel_10: 1 (frames 2-5)\nb: 0 [frames 1, 2]",
    "label_1: 4 - all steps, in order\nlabel_10: 1 — hardly\nb: 0 # never",
    "label_1: 4, since it is there\nlabel_10: 1; it is not\nb: 0. No.",
    "label_1 = 4\nlabel_10 = 1\nb = 0",
    "label_1 - 4\nlabel_10 \u2013 1\nb — 0",
    "label_1 -> 4\nlabel_10 → 1\nb -> 0",
    "label_1: 4, label_10: 1, b: 0",
    "label_1: 4; label_10: 1; b: 0.",
    "**label_1**: 4\n**label_10**: 1\n**b**: 0",
    "**label_1:** 4\n**label_10:** 1\n**b:** 0",
    "**label_1: 4**\n**label_10: 1**\n**b: 0**",
    "__label_1__: 4\n__label_10__: 1\n__b__: 0",
    "`label_1`: `4`\n`label_10`: `1`\n`b`: `0`",
    "- label_1: 4\n- label_10: 1\n- b: 0",
    "* label_1: 4\n* label_10: 1\n* b: 0",
    "1. label_1: 4\n2. label_10: 1\n3. b: 0",
    "1) *label_1*: 4\n2) *label_10*: 1\n3) *b*: 0",
    "### label_1: 4\n### label_10: 1\n### b: 0",
    "> label_1: 4\n> label_10: 1\n> b: 0",
    "label\\_1: 4\nlabel\\_10: 1\nb: 0",
    '"label_1": 4\n"label_10": "1"\n“b”: 0',
    "label_1: score 4\nlabel_10: Score: 1\nb: Score = 0",
    "| label | score |\n|---|---|\n| label_1 | 4 |\n| label_10 | 1 |\n| b | 0 |",
    "```\nlabel_1: 4\nlabel_10: 1\nb: 0\n```",
    "Here you are:\n```text\nlabel_1: 4\nlabel_10: 1\nb: 0\n```\nAnything else?",
    '{"label_1": 4, "label_10": 1, "b": 0}',
    '{"label_1": 4.0, "label_10": "1", "b": "0/5"}',
    '{"frames": ["label_1: 5"], "comparison": "b: 3", "scores": {"label_1": 4, "label_10": 1, "b": 0}}',
    '```json\n{"scores": {\n  "label_1": 4,\n  "label_10": 1,\n  "b": 0\n}}\n```',
    'The scores:\n{"label_1": 4,\n "label_10": 1,\n "b": 0}\nDone.',
    "<think>label_1: 2? No.\nlabel_1: 4</think>\nlabel_1: 4\nlabel_10: 1\nb: 0",
    "label_1: the steps are all there.\nlabel_10: none is.\n\nlabel_1: 4\nlabel_10: 1\nb: 0",
    "label_1: 3 of the 4 steps are seen\n\nlabel_1: 4\nlabel_10: 1\nb: 0",
    "label_1: 4\nlabel_10: 1\nb: 0\nSo label_1 wins, with label_10: 2 behind.",
    "label_1: 4\nlabel_10: 1\nb: 0\n\nFinal:\nlabel_1: 4\nlabel_10: 1\nb: 0",
    "I am sorry that this took long.\nlabel_1: 4\nlabel_10: 1\nb: 0",
    "label_1: 4\r\nlabel_10: 1\r\nb: 0\r\n",
    "label_1: 4\nlabel_10: 1\nb: 0\nlabel_7: 5",
    "Label_1: 4\nLABEL_10: 1\nB: 0",
    "**Label label_1**: 4\n**Label label_10:** 1\nOption b: 0",
    'Label "label_1": 4\nCandidate `label_10`: 1\n- **Label b**: 0',
    "label_1 (door first): 4\n**label_10** (cup first): 1\n**b (neither)**: 0",
    "label_1\uff1a4\nlabel_10 \uff1a 1\nb\uff1a0",
    "label_1\uff1a4\uff0clabel_10\uff1a1\uff0cb\uff1a0",
    "<answer>label_1: 4\nlabel_10: 1\nb: 0</answer>",
    "I compared them. <answer>label_1: 4\nlabel_10: 1\nb: 0",
    '<answer>{"label_1": 4, "label_10": 1, "b": 0}',
    "<|begin_of_box|>label_1: 4, label_10: 1, b: 0<|end_of_box|>",
    '{"label_1": {"score": 4, "reason": "b: 3"}, "label_10": {"score": 1}, "b": {"score": "0/5"}}',
    '[{"label": "label_1", "score": 4}, {"label": "label_10", "score": 1}, {"label": "b", "score": 0}]',
    '{"scores": [{"label": "label_1", "score": 4}, {"label": "label_10", "score": 1}, {"label": "B", "score": 0}]}',
    '[{"label_1": 4}, {"label_10": 1}, {"b": 0}]',
    '{"result": {"label_1": 4, "label_10": 1, "b": 0}}',
    'The scores:\n```\n[{"label": "label_1", "score": 4},\n{"label": "label_10", "score": 1}]\n```\nb: 0',
    "| label_1 | 4 |\n| label_10 | 1 |\n| **b** | **0** |",
    "label_1 | 4\nlabel_10 | 1\nb | 0",
]

BAD = {
    "": "empty",
    "  \n ": "empty",
    "label_1: 4\nlabel_10: 1": "no score to b",
    "label_10: 1\nb: 0": "no score to label_1",
    "label_1: 4\nb: 0": "no score to label_10",
    "label_100: 1\nlabel_1: 4\nb: 0": "no score to label_10",
    "my_label_1: 4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label 1: 4\nlabel 10: 1\nb: 0": "no score to label_1, label_10",
    "label_1: 6\nlabel_10: 1\nb: 0": "score of label_1 is 6",
    "label_1: -1\nlabel_10: 1\nb: 0": "score of label_1 is -1",
    "label_1: 40\nlabel_10: 1\nb: 0": "score of label_1 is 40",
    "label_1: 5.5\nlabel_10: 1\nb: 0": "score of label_1 is 5.5",
    "label_1: 8/10\nlabel_10: 1\nb: 0": "score of label_1 is 8/10",
    "label_1: 3/4\nlabel_10: 1\nb: 0": "score of label_1 is 3/4",
    "label_1: 80%\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 4\nlabel_1: 3\nlabel_10: 1\nb: 0": "different scores to label_1",
    "label_1: 4, label_1: 3\nlabel_10: 1\nb: 0": "different scores to label_1",
    "label_1: 3-4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 3 - 4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 3 -  4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 3 or 4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 3, 4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 3,5\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 1.2.3\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 4/5/2\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: four\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: N/A\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: <score>\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1: 3 steps match, so 4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1:\n4. The frames show it.\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1\n4\nlabel_10: 1\nb: 0": "no score to label_1",
    "label_1 4\nlabel_10 1\nb 0": "no score to label_1, label_10, b",
    "label_1, label_10: 1\nb: 0": "no score to label_1",
    "The winner is label_1: 4\nlabel_10: 1\nb: 0": "no score to label_1",
    "5\n1\n0": "no score to label_1, label_10, b",
    '{"label_1": 4, "label_10": 1}': "no score to b",
    '{"label_1": 4, "label_10": 1, "b": null}': "no score to b",
    '{"label_1": true, "label_10": 1, "b": 0}': "no score to label_1",
    '{"label_1": 4, "label_10": 1, "b": 0, "label_1": 2}': "different scores to label_1",
    '{"label_1": 7, "label_10": 1, "b": 0}': "score of label_1 is 7",
    '{"label_1": [4], "label_10": 1, "b": 0}': "no score to label_1",
    '{"scores": {"label_1": 4, "label_10": 1, "b"': "no score to b",
    '```json\n{"label_1": 4, "label_10": 1, "b": 0}\n```\n```json\n{"label_1": 3}\n```': "different scores to label_1",
    '```json\n{"label_1": 4, "label_10": 1, "b": 0}\n```\nNo:\nlabel_1: 3': "different scores to label_1",
    '{"label_1": 4, "label_10": 1, "b": 0, "scores": {"b": 1}}': "different scores to b",
    '[{"label": "label_1", "score": 4}, {"label": "label_1", "score": 3}]': "no score to label_10",
    '[{"label": "b", "score": 4, "score": 3}, {"label_1": 1, "label_10": 2}]': "different scores to b",
    '{"label_1": {"score": 4}, "label_10": {"score": 1}, "b": {"grade": 0}}': "no score to b",
    '{"label_1": {"score": 6}, "label_10": {"score": 1}, "b": {"score": 0}}': "score of label_1 is 6",
    "| label_1 | 4 | 3 |\n| label_10 | 1 | 1 |\n| b | 0 | 0 |": "no score to label_1, label_10, b",
    "label_1: 4\nLABEL_1: 3\nlabel_10: 1\nb: 0": "different scores to label_1",
    "label_1 (3): 4 of 6\nlabel_10: 1\nb: 0": "score of label_1 is 4/6",
    "[" * 100_000: "no score to label_1",
    '{"label_1": ' + "4" * 5000 + "}": "no score to label_1|score of label_1",
    "[4, 1, 0]": "no score to label_1, label_10, b",
    "null": "no score to label_1, label_10, b",
    "<think>label_1: 4\nlabel_10: 1\nb: 0</think>": "empty",
    "\uff4cabel_1: 4\nlabel_10: 1\nb: 0": "no score to label_1",
}

SCORED = "label_1: 4\nlabel_10: 1\nb: 0"
OTHER = "label_1: 5\nlabel_10: 5\nb: 5"
THOUGHTS = [
    ("<think>", "</think>"),
    ("<THINK>", "</Think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
]
thoughts = st.sampled_from(THOUGHTS)

REFUSALS = [
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, I can\u2019t help with identifying people.",
    "Sorry, I cannot do that.",
    "I cannot score these videos.",
    "I am unable to view images.",
    "**I apologize**, but this is not possible.",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_clear_reply_is_read(text: str) -> None:
    assert parse_scores(Reply(text), LABELS) == READ


@pytest.mark.parametrize(("text", "problem"), BAD.items())
def test_a_doubtful_reply_is_not_guessed_at(text: str, problem: str) -> None:
    with pytest.raises(UnreadableReply, match=problem) as caught:
        parse_scores(Reply(text), LABELS)
    assert caught.value.reason == "parse_error"


@pytest.mark.parametrize(("opening", "closing"), THOUGHTS)
def test_nothing_is_taken_from_a_thought(opening: str, closing: str) -> None:
    for text in (
        f"{opening}{OTHER}{closing}\n{SCORED}",
        f"{OTHER}{closing}\n{SCORED}",  # it began in the prompt
        f"{opening}a{closing}{opening}{OTHER}{closing}{SCORED}",
        f"{opening}a{opening}b{closing}{OTHER}{closing}{SCORED}",
    ):
        assert parse_scores(Reply(text), LABELS) == READ
        assert read_text(Reply(text)) == SCORED
    for text, reason in ((f"{opening}{SCORED}", "parse_error"), (f"{SCORED}\n{opening}No, {OTHER}", "parse_error")):
        for finish, expected in (("stop", reason), ("length", "truncated")):
            with pytest.raises(UnreadableReply) as caught:
                parse_scores(Reply(text, finish), LABELS)  # type: ignore[arg-type]
            assert caught.value.reason == expected


def mark(pair: tuple[str, str], closing: bool) -> str:
    return pair[closing]


@given(st.lists(st.one_of(st.builds(mark, thoughts, st.booleans()), st.integers(0, 5)), max_size=8), thoughts)
def test_no_number_inside_any_thought_is_ever_returned(pieces: list[str | int], pair: tuple[str, str]) -> None:
    """Marks in any order: a number counts only if every mark before it is closed, and none after it closes another."""
    reply = "".join(f"\nb: {piece}\n" if isinstance(piece, int) else piece for piece in pieces)
    # Slow oracle: count the marks of each kind on either side of every number.
    kinds = {text: (pair, text == pair[1]) for pair in THOUGHTS for text in pair}

    def depth(part: list[str | int]) -> tuple[int, int]:
        """How many marks stay open, and how many close what was opened before the part."""
        opened, orphans = dict.fromkeys(("think", "thinking", "reasoning", "thought"), 0), 0
        for piece in part:
            if isinstance(piece, str):
                kind = next(k for k in ("thinking", "think", "reasoning", "thought") if k in piece.lower())
                if not kinds[piece][1]:
                    opened[kind] += 1
                elif opened[kind]:
                    opened[kind] -= 1
                else:
                    orphans += 1
        return sum(opened.values()), orphans

    outside = {
        piece
        for place, piece in enumerate(pieces)
        if isinstance(piece, int) and not depth(pieces[:place])[0] and depth(pieces)[1] == depth(pieces[:place])[1]
    }
    if depth(pieces)[0] or len(outside) != 1:
        with pytest.raises(UnreadableReply):
            parse_scores(Reply(reply), ["b"])
    else:
        assert parse_scores(Reply(reply), ["b"]) == (float(outside.pop()),)
    with pytest.raises(UnreadableReply):
        parse_scores(Reply(f"{pair[0]}\nb: 3\n"), ["b"])


def test_labels_that_differ_only_in_case_are_told_apart_by_it() -> None:
    assert parse_scores(Reply("a: 4\nA: 1"), ["a", "A"]) == (4.0, 1.0)
    with pytest.raises(UnreadableReply, match="no score to Ab"):
        parse_scores(Reply("AB: 4\naB: 1"), ["Ab", "aB"])


def test_a_label_is_not_taken_for_a_shorter_one_with_a_remark() -> None:
    labels = ["a", "a (door first)", "Label a", "d", "c|d", "don\u2019t"]
    text = "a (door first): 4\nLabel a: 3\nc|d: 2\ndon't: 5\n"
    with pytest.raises(UnreadableReply, match="no score to a, d$"):
        parse_scores(Reply(text), labels)
    assert parse_scores(Reply(text + "a: 1\nd: 0"), labels) == (1.0, 4.0, 3.0, 0.0, 2.0, 5.0)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_told_apart(text: str) -> None:
    for read in (lambda: parse_scores(Reply(text), LABELS), lambda: read_text(Reply(text))):
        with pytest.raises(UnreadableReply) as caught:
            read()
        assert caught.value.reason == "refusal"


def test_how_a_reply_ended_counts_more_than_what_it_says() -> None:
    for finish, reason in (("length", "truncated"), ("refusal", "refusal")):
        with pytest.raises(UnreadableReply) as caught:
            parse_scores(Reply(GOOD[0], finish), LABELS)  # type: ignore[arg-type]
        assert caught.value.reason == reason


@pytest.mark.parametrize("label", ["a b", "1", "a.b", "x+y", "put(apple)", "ünï", "<score>", "a-b", "c|d", "scores"])
def test_any_label_can_be_read_back(label: str) -> None:
    for text in (f"{label}: 3\nother: 1", f"other: 1\n- **{label}**: 3/5", json.dumps({label: 3, "other": 1})):
        assert parse_scores(Reply(text), (label, "other")) == (3.0, 1.0)


def test_long_replies_are_read_in_no_time() -> None:
    text = "label_1 " * 20_000 + "\n" * 20_000 + " " * 50_000 + "label_1: 4\n" * 2_000
    assert parse_scores(Reply(text), ("label_1",)) == (4.0,)


@pytest.mark.parametrize("looped", [" ", "\t", "\n", "[", "[ ", '{"a": ', "- "])
@pytest.mark.parametrize("begin", ["a: 4", "a: score", "a: 4 -", "[", "<think", "Frame 1: 4"])
def test_a_model_that_writes_one_thing_for_ever_is_read_in_no_time(begin: str, looped: str) -> None:
    reply = Reply(begin + looped * (40_000 // len(looped)) + "x")
    started = time.monotonic()
    for read in (read_text, lambda reply: parse_scores(reply, ("a", "b")), lambda reply: parse_values(reply, 2)):
        with suppress(UnreadableReply):
            read(reply)
    assert time.monotonic() - started < 5  # each was minutes
