from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from lightning_vista.models.token_losses import next_token_losses
from lightning_vista.routing import TokenRule
from lightning_vista.text import (
    Labelling,
    Row,
    collate_rows,
    encode_records,
    label_rows,
    load_tokenizer,
    word_tokenizer,
)
from lightning_vista.text.batch_sampler import RowBatchSampler
from lightning_vista.text.rows import text_beginning

KNOWN = [1] * 7 + [0] * 20 + [-1] * 9


def test_long_texts_become_several_rows() -> None:
    tokenizer = word_tokenizer(["a b c d e f g"])
    records = [{"text": "a b c d e f g"}, {"text": "b c"}, {"text": "a b c d"}]
    rows = list(encode_records(records, tokenizer, lambda record: "g" in record["text"], max_length=5))
    texts = [tokenizer.decode(row.tokens) for row in rows]
    assert texts == ["a b c d e", "f g [END]", "b c [END]", "a b c d [END]"]
    assert [(row.is_forget, row.number) for row in rows] == [(True, 0), (True, 0), (False, 1), (False, 2)]


def test_a_tokenizer_without_padding_pads_with_the_end(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(["a b"], vocabulary_size=4)
    assert len(tokenizer) == 4
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token == "[END]"


def with_template(template: str, bos: str | None = "[BOS]") -> Any:
    """Return a tokenizer with a word for each letter that adds special tokens around texts, as Llama's adds BOS."""
    tokenizer = word_tokenizer(["a b c d e f g"])
    tokenizer.add_special_tokens({} if bos is None else {"bos_token": bos})
    special = [
        (name, tokenizer.convert_tokens_to_ids(name)) for name in ("[BOS]", "[END]", "[UNK]") if name in template
    ]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
    return tokenizer


@pytest.mark.parametrize(
    ("template", "add_bos", "text", "expected"),
    [
        ("[BOS] $A", None, "a b", "[BOS] a b [END]"),
        ("[BOS] $A [END]", None, "a b", "[BOS] a b [END]"),
        ("$A [END]", None, "a b", "a b [END]"),
        ("[UNK] [BOS] $A", None, "a b", "[UNK] [BOS] a b [END]"),
        ("[BOS] $A", False, "a b", "a b [END]"),
        ("$A", True, "a b", "[BOS] a b [END]"),
        ("[BOS] $A", True, "a b", "[BOS] a b [END]"),
        ("[BOS] $A", None, "[BOS] a [END]", "[BOS] a [END]"),
        ("[BOS] $A", None, "a b c d e f g", "[BOS] a b c d|e f g [END]"),  # like the tokenizer: once per text
        ("[BOS] $A", None, " ", ""),
    ],
)
def test_texts_begin_as_the_tokenizer_begins_them(
    template: str, add_bos: bool | None, text: str, expected: str
) -> None:
    tokenizer = with_template(template)
    rows = list(encode_records([{"text": text}], tokenizer, bool, max_length=5, add_bos=add_bos))
    assert "|".join(" ".join(tokenizer.convert_ids_to_tokens(row.tokens)) for row in rows) == expected
    if add_bos is None and template.endswith("[END]") and len(rows) == 1:
        assert rows[0].tokens.tolist() == tokenizer(text)["input_ids"]


def test_a_beginning_is_context_only() -> None:
    tokenizer = with_template("[BOS] $A")
    (row,) = encode_records([{"text": "a b"}], tokenizer, bool)
    ids = collate_rows([row], 0)["input_ids"]
    losses = next_token_losses(torch.randn(1, 4, len(tokenizer)), ids)
    assert losses.shape == (1, 3)  # of a, b and the end
    rule = TokenRule({"letter": [tokenizer.convert_tokens_to_ids("a")], "bos": [tokenizer.bos_token_id]})
    assert rule.memberships({"input_ids": ids})[0].tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]


def test_a_token_that_is_missing_is_told() -> None:
    with pytest.raises(ValueError, match="`add_bos`: expected a tokenizer with a `bos_token`"):
        text_beginning(with_template("$A", bos=None), add_bos=True)


def rows_of(number: int) -> list[Row]:
    return [Row(torch.tensor([1, 2]), text % 4 == 0, text) for text in range(number)]


def test_labelling_keeps_its_shares_and_grows() -> None:
    rows = rows_of(4000)
    labelling = Labelling(forget=0.5, retain=0.25, forget_as_retain=0.2)
    known = torch.tensor([row.known for row in label_rows(rows, labelling)])
    is_forget = torch.tensor([row.is_forget for row in rows])
    shares = [(known[of] == value).float().mean().item() for of in (is_forget, ~is_forget) for value in (1, 0, -1)]
    assert shares == pytest.approx([0.4, 0.1, 0.5, 0.0, 0.25, 0.75], abs=0.04)
    more = torch.tensor([row.known for row in label_rows(rows, Labelling(forget=0.7, retain=0.25))])
    assert (more[is_forget & (known != -1)] == 1).all()
    assert (torch.tensor([row.known for row in label_rows(rows, labelling, seed=1)]) != known).any()
    with pytest.raises(ValueError, match="between 0 and 1, got"):
        Labelling(forget=1.5)


def test_what_is_left_out() -> None:
    rows = rows_of(400)
    labelling = Labelling(forget=0.5)
    pure, filtered = (list(label_rows(rows, labelling, exclude)) for exclude in ("forget", "labelled_forget"))
    assert len(pure) == 300
    assert 330 < len(filtered) < 370
    assert all(row.known == -1 for row in filtered if row.is_forget)


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("homogeneous", [True, False])
@pytest.mark.parametrize("labelled_first", [True, False])
def test_every_row_comes_once(world_size: int, homogeneous: bool, labelled_first: bool) -> None:
    def sampler(rank: int, even: bool) -> RowBatchSampler:
        order: dict[str, Any] = {
            "shuffle": True,
            "homogeneous": homogeneous,
            "labelled_first": labelled_first,
            "even": even,
        }
        return RowBatchSampler(KNOWN, 4, rank=rank, world_size=world_size, **order)

    by_rank = [list(sampler(rank, even=False)) for rank in range(world_size)]
    assert sorted(row for batches in by_rank for batch in batches for row in batch) == list(range(len(KNOWN)))
    assert max(len(batch) for batches in by_rank for batch in batches) == 4
    even = [list(sampler(rank, even=True)) for rank in range(world_size)]
    assert {len(batches) for batches in even} == {len(sampler(0, even=True))}
    for together in zip(*even, strict=True):
        groups = {KNOWN[row] for batch in together for row in batch}
        assert len(groups) == 1 or not homogeneous
    if labelled_first:
        order = [KNOWN[row] for batch in even[0] for row in batch]
        assert -1 not in order[: order.index(-1)]
        assert set(order[order.index(-1) :]) == {-1}


def test_batches_of_one_label_and_one_kind() -> None:
    kinds = [1] * 5 + [0] * 2 + [0] * 17 + [1] * 3 + [0, 1, 1] * 3  # wrong labels, and unlabelled rows of both kinds
    sampler = RowBatchSampler(KNOWN, 4, shuffle=True, homogeneous=True, labelled_first=True, kinds=kinds)
    batches = [[(KNOWN[row], kinds[row]) for row in batch] for batch in sampler]
    assert all(len(set(batch)) == 1 for batch in batches)
    assert Counter(row for batch in batches for row in batch) == Counter(zip(KNOWN, kinds, strict=True))
    assert len({batch[0] for batch in batches}) == 6
    labels = [batch[0][0] for batch in batches]
    assert labels == sorted(labels, key=lambda label: label == -1)


def test_rows_of_similar_lengths_share_a_batch() -> None:
    known = [1] * 200 + [0] * 150 + [-1] * 250
    lengths = torch.randint(2, 50, (600,), generator=torch.Generator().manual_seed(0)).tolist()
    options: dict[str, Any] = {"shuffle": True, "homogeneous": True, "labelled_first": True}
    plain, grouped = (list(RowBatchSampler(known, 16, lengths=given, **options)) for given in (None, lengths))
    assert sorted(row for batch in grouped for row in batch) == list(range(600))
    for batches in (plain, grouped):
        labels = [known[batch[0]] for batch in batches]
        assert all({known[row] for row in batch} == {label} for batch, label in zip(batches, labels, strict=True))
        assert labels == sorted(labels, key=lambda label: label == -1)
        assert labels[:5] != sorted(labels[:5])  # labelled batches are mixed
    padded = [sum(len(batch) * max(lengths[row] for row in batch) for batch in batches) for batches in (plain, grouped)]
    assert padded[1] - sum(lengths) < 0.3 * (padded[0] - sum(lengths))
    longest = [max(lengths[row] for row in batch) for batch in grouped if known[batch[0]] == -1]
    assert longest != sorted(longest)
    sampler = RowBatchSampler(known, 16, lengths=lengths, **options)
    sampler.set_epoch(1)
    assert list(sampler) != grouped


def test_each_epoch_has_its_order() -> None:
    sampler = RowBatchSampler(KNOWN, 4, shuffle=True)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert next(iter(RowBatchSampler(KNOWN, 5))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("word", ["forgotten", "", None])
def test_unknown_words_are_refused(word: Any) -> None:
    with pytest.raises(ValueError, match="`exclude`: expected one of 'nothing', 'forget', 'labelled_forget'"):
        list(label_rows([], Labelling(), word))
