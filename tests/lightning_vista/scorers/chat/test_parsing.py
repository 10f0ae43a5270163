import json

import pytest

from lightning_vista.scorers.chat.chat_model import Reply
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
    "Label_1: 4\nLABEL_10: 1\nB: 0": "no score to label_1, label_10, b",
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
    "[4, 1, 0]": "no score to label_1, label_10, b",
    "null": "no score to label_1, label_10, b",
    "<think>label_1: 4\nlabel_10: 1\nb: 0</think>": "empty",
    "\uff4cabel_1: 4\nlabel_10: 1\nb: 0": "no score to label_1",
}

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
