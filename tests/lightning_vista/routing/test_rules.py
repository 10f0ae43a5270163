from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_vista.routing import (
    ConceptRule,
    FieldRule,
    FrequencyRule,
    LabelRule,
    MixtureRule,
    PartialLabels,
    Rule,
    SequenceRule,
    StochasticRule,
    TokenRule,
)

#: A tokenizer of whole words, with word pieces for those in it twice.
VOCABULARY = {"<unk>": 0, "the": 1, "old": 2, "tree": 3, "Tree": 4, "s": 5, "house": 6, " ": 7, "wood": 8, "land": 9}


class WordTokenizer:
    """Knows `VOCABULARY`; "woodland" is two tokens."""

    unk_token_id = 0

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        assert not add_special_tokens
        words = text.replace("woodland", "wood land").split()
        return [VOCABULARY.get(word, 0) for word in words]

    def __len__(self) -> int:
        return len(VOCABULARY)


def data(batches: list[dict[str, Tensor]] | None = None) -> Any:
    return SimpleNamespace(tokenizer=WordTokenizer(), train_dataloader=lambda: batches)


def tokens(*rows: list[int]) -> dict[str, Tensor]:
    return {"input_ids": torch.tensor(rows)}


@dataclass
class Padded:
    """A batch of tokens that is not a mapping."""

    input_ids: Tensor
    attention_mask: Tensor | None
    label: Tensor


def test_labels_from_every_kind_of_batch() -> None:
    @dataclass
    class Batch:
        label: Tensor

    labels = torch.tensor([0, 3, 9])
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    groups = {"low": [0, 1], "high": [3]}
    for batch, field in (({"label": labels}, "label"), (("x", labels), 1), (Batch(labels), "label")):
        assert torch.equal(LabelRule(field, groups).memberships(batch), expected)
    words = LabelRule("topic", {"low": ["a"], "high": ["b"]})
    assert torch.equal(words.memberships({"topic": ["a", "b", "c"]}), expected)


def test_labels_of_tokens() -> None:
    assert LabelRule("label", {"a": [1]}).memberships({"label": torch.tensor([[1, 0]])}).tolist() == [[[1.0], [0.0]]]


@pytest.mark.parametrize(
    ("batch", "field", "message"),
    [
        ({"image": 0}, "label", r"expected a batch with 'label', got a mapping with \['image'\]"),
        ((0, 1), "label", r"got a tuple of 2, whose fields have positions"),
        ((0, 1), 2, r"expected a batch with 2, got a tuple of 2"),
        (Padded(torch.zeros(1), None, torch.zeros(1)), "topic", r"Padded with \['input_ids', 'attention_mask'"),
        (SimpleNamespace(), "label", r"a SimpleNamespace"),
    ],
)
def test_a_batch_without_the_field_is_refused(batch: object, field: str | int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelRule(field, {"a": [1]}).memberships(batch)


def test_a_label_in_two_groups_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each label in one group, got \[1\]"):
        LabelRule("label", {"a": [0, 1], "b": [1]})


def test_the_field_is_the_membership() -> None:
    members = torch.rand(4, 3, 2, dtype=torch.float64)
    assert FieldRule("share", ["a", "b"]).memberships({"share": members}) is members
    assert FieldRule("share", ["a"]).memberships({"share": torch.tensor([[True]])}).dtype == torch.float32


def test_the_target_governs_and_padding_belongs_to_no_group() -> None:
    rule = TokenRule({"tree": ["tree", 4]}, otherwise="other")
    rule.setup(data())
    batch = tokens([3, 1, 3, 4, 1], [1, 3, 3, 3, 3])
    batch["attention_mask"] = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    members = rule.memberships(batch)
    assert members[..., 0].tolist() == [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert members[..., 1].tolist() == [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]


def as_mapping(batch: Padded) -> dict[str, Any]:
    return {name: value for name, value in vars(batch).items() if value is not None}


def as_tuple(batch: Padded) -> tuple[Any, ...]:
    return (batch.input_ids, batch.attention_mask, batch.label)


def frequency_rule(label: str | int, **fields: Any) -> FrequencyRule:
    rule = FrequencyRule(LabelRule(label, {"forget": [1], "retain": [0]}), forget_smoothing=1, **fields)
    rule.retain_weights = torch.full((len(VOCABULARY),), 0.25)
    return rule


@pytest.mark.parametrize(
    ("wrap", "fields", "label"),
    [(as_mapping, {}, "label"), (lambda batch: batch, {}, "label"), (as_tuple, {"field": 0, "mask_field": 1}, 2)],
)
def test_padding_belongs_to_no_group_in_every_kind_of_batch(wrap: Any, fields: Any, label: Any) -> None:
    batch = Padded(torch.tensor([[1, 3, 3, 3]]), torch.tensor([[1, 1, 1, 0]]), torch.tensor([1]))
    by_token, softly = TokenRule({"tree": [3]}, otherwise="other", **fields), frequency_rule(label, **fields)
    assert by_token.memberships(wrap(batch)).tolist() == [[[1, 0], [1, 0], [0, 0], [0, 0]]]
    assert softly.memberships(wrap(batch)).tolist() == [[[0.75, 0.25], [0.75, 0.25], [0, 0], [0, 0]]]
    batch.attention_mask = None
    assert by_token.memberships(wrap(batch))[0, 2].tolist() == [1, 0]
    assert softly.memberships(wrap(batch))[0, 2].tolist() == [0.75, 0.25]


def test_frequencies_are_counted_without_padding_in_every_kind_of_batch() -> None:
    batch = Padded(torch.tensor([[1, 3, 3, 3]]), torch.tensor([[1, 1, 0, 0]]), torch.tensor([1]))
    weights = []
    for wrapped in (batch, as_mapping(batch), tokens([1, 3]) | {"label": torch.tensor([1])}):
        rule = frequency_rule("label")
        rule.setup(data([wrapped]))  # type: ignore[list-item]
        weights.append(rule.retain_weights)
    assert all(torch.equal(weight, weights[0]) for weight in weights)  # type: ignore[arg-type]


def test_text_that_is_not_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'woodland': expected one token, got 2. Use ConceptRule"):
        TokenRule({"tree": ["woodland"]}).setup(data())
    with pytest.raises(ValueError, match=r"Call `rule.setup"):
        TokenRule({"tree": ["tree"]}).memberships(tokens([1]))
    with pytest.raises(ValueError, match=r"`tokenizer`: expected the datamodule to have one"):
        TokenRule({"tree": ["tree"]}).setup(None)


def test_concepts_of_several_tokens_in_every_spelling() -> None:
    rule = ConceptRule({"forest": ["woodland", "TREE"]})
    rule.setup(data())
    members = rule.memberships(tokens([1, 8, 9, 8, 4, 3, 9], [8, 8, 9, 1, 1, 1, 1]))
    assert members[..., 0].tolist() == [[1, 1, 0, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"'unicorn': expected a concept that the tokenizer knows"):
        ConceptRule({"forest": ["unicorn"]}).setup(data())


def test_overlapping_concepts_go_to_the_first_group() -> None:
    rule = ConceptRule({"a": [[3, 4]], "b": [[4, 5]]})
    assert rule.memberships(tokens([0, 3, 4, 5])).tolist() == [[[1, 0], [1, 0], [0, 1], [0, 0]]]


def test_concepts_longer_than_the_sequence_are_not_found() -> None:
    assert not ConceptRule({"a": [[3, 4, 5]]}).memberships(tokens([3, 4])).any()


def test_a_sequence_belongs_to_what_occurs_anywhere_but_in_padding() -> None:
    rule = SequenceRule(ConceptRule({"a": [[3]], "b": [[4]]}), otherwise="retain")
    batch = tokens([3, 1, 1], [1, 4, 3], [1, 1, 3])
    batch["attention_mask"] = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    assert rule.memberships(batch).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"expected a rule without `otherwise`, got 'b'"):
        SequenceRule(TokenRule({"a": [3]}, otherwise="b"))


def test_frequency_weights_are_the_papers_formula() -> None:
    batches = [tokens([1, 3, 3, 2], [1, 2, 2, 6]), tokens([1, 3, 1, 1], [1, 1, 1, 1])]
    rule = FrequencyRule(SequenceRule(TokenRule({"forget": [3]}), otherwise="retain"), scale=0.5, bias=-1.0)
    rule.setup(data(batches))
    f = [(count + 1) / (8 + 10) for count in (0, 4, 1, 3, 0, 0, 0, 0, 0, 0)]
    r = [(count + 20) / (8 + 200) for count in (0, 5, 2, 0, 0, 0, 1, 0, 0, 0)]
    kept = [1 - torch.sigmoid(torch.tensor(0.5 * (a / b - b / a) - 1)).item() for a, b in zip(f, r, strict=True)]
    members = rule.memberships(tokens([1, 3, 2], [2, 2, 1]))
    assert members[0].tolist() == [pytest.approx([1 - kept[3], kept[3]]), pytest.approx([1 - kept[2], kept[2]]), [0, 0]]
    assert members[1].tolist() == [[0, 1], [0, 1], [0, 0]]


def test_frequencies_are_counted_before_use() -> None:
    split = LabelRule("label", {"forget": [1], "retain": [0]})
    with pytest.raises(ValueError, match=r"Call `rule.setup"):
        FrequencyRule(split).memberships(tokens([1]))
    with pytest.raises(ValueError, match=r"`split`: expected the groups \['a', 'retain'\], got \['forget', 'retain'\]"):
        FrequencyRule(split, forget="a")


def test_mixtures_add_up_to_one_at_most() -> None:
    by_label = LabelRule("label", {"a": [1], "b": [2]})
    rule = MixtureRule([by_label, TokenRule({"b": [7], "c": [8]})], coefficients=[0.5, 1.0])
    members = rule.memberships(tokens([0, 7, 8]) | {"label": torch.tensor([1])})
    expected = [[0.5 / 1.5, 1 / 1.5, 0], [0.5 / 1.5, 0, 1 / 1.5], [0.5, 0, 0]]
    assert torch.allclose(members[0], torch.tensor(expected))
    with pytest.raises(ValueError, match=r"`coefficients`: expected 1 of at least 0"):
        MixtureRule([by_label], coefficients=[1, 2])


@pytest.mark.parametrize("kind", [torch.long, torch.bool, torch.uint8])
def test_rules_compute_with_integers_and_booleans_of_others(kind: torch.dtype) -> None:
    class Whole(LabelRule):
        def memberships(self, batch: Any) -> Tensor:
            return super().memberships(batch).to(kind)

    rules = [kind_of("label", {"a": [0], "b": [1]}) for kind_of in (Whole, LabelRule)]
    batch = {"label": torch.tensor([0, 1])}
    whole, plain = (
        MixtureRule([one, LabelRule("label", {"a": [1], "b": [0]})], coefficients=[0.6, 0.3]).memberships(batch)
        for one in rules
    )
    assert torch.equal(whole, plain)
    assert whole[0].tolist() == pytest.approx([0.6, 0.3])
    changed = [StochasticRule(one, {"a": {"b": 1.0}}).memberships(batch) for one in rules]
    assert torch.equal(*changed)


@pytest.mark.parametrize("unlabelled", ["default", "retain"])
def test_unlabelled_rows_are_not_routed_or_retained(unlabelled: Any) -> None:
    rule = PartialLabels(TokenRule({"forget": [7]}), "known", unlabelled=unlabelled)
    members = rule.memberships(tokens([0, 7], [0, 7], [0, 7]) | {"known": torch.tensor([1, 0, -1])})
    assert members[0].tolist() == [[1, 0], [0, 0]]
    assert members[1].tolist() == [[0, 1], [0, 1]]
    assert members[2].tolist() == ([[0, 0], [0, 0]] if unlabelled == "default" else [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"got \[2\]"):
        rule.memberships(tokens([0, 7]) | {"known": torch.tensor([2])})


def test_a_group_named_twice_is_refused() -> None:
    class Twice(Rule):
        def memberships(self, batch: Any) -> Tensor:
            return torch.zeros(1, 2)

    with pytest.raises(ValueError, match=r"`groups`: expected .* different names, got \['a', 'a'\]"):
        Twice(["a", "a"])


def test_boolean_labels_are_zero_and_one() -> None:
    flags = torch.tensor([True, False, True])
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    for forget, retain in ((True, False), (1, 0)):
        rule = LabelRule("label", {"forget": [forget], "retain": [retain]})
        for labels in (flags, flags.long(), flags.tolist()):
            assert torch.equal(rule.memberships({"label": labels}), expected)
    partial = PartialLabels(LabelRule("topic", {"forget": [5]}), field="known")
    members = partial.memberships({"topic": torch.tensor([5, 5, 1]), "known": flags})
    assert torch.equal(members, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))


def test_labels_in_quotation_marks_are_refused_for_numbers() -> None:
    rule = LabelRule("label", {"low": ["0"]})
    with pytest.raises(ValueError, match="expected numbers or booleans as labels, .* got '0'. Write labels without"):
        rule.memberships({"label": torch.tensor([0, 1])})
