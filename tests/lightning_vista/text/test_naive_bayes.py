import pytest
import torch
from sklearn.naive_bayes import MultinomialNB

from lightning_vista.text import Labelling, Row, label_rows
from lightning_vista.text.naive_bayes import naive_bayes


def texts(count: int, shift: int, seed: int) -> list[torch.Tensor]:
    """Random texts of different lengths; those with another shift prefer other tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 8, (count,), generator=generator).tolist()
    return [torch.randint(12, (length,), generator=generator).int() + shift for length in lengths]


@pytest.mark.parametrize("seed", range(4))
def test_it_classifies_as_scikit_learn_does(seed: int) -> None:
    labelled = texts(15, 0, seed) + texts(9, 4, seed + 10)
    labels = [True] * 15 + [False] * 9
    others = texts(20, 2, seed + 20)
    places = 1 + max(int(tokens.max()) for tokens in labelled + others)
    counts = [torch.stack([t.bincount(minlength=places) for t in part]).numpy() for part in (labelled, others)]
    expected = MultinomialNB().fit(counts[0], labels).predict(counts[1])
    assert naive_bayes(labelled, labels, others) == expected.tolist()
    assert 0 < sum(expected) < 20


def test_both_labels_are_needed() -> None:
    with pytest.raises(ValueError, match=r"`labels`: expected texts of both labels, got only \{True\}"):
        naive_bayes(texts(2, 0, 0), [True, True], [])


def test_labels_are_extended_to_unlabelled_texts_to_forget_only() -> None:
    rows = [Row(torch.tensor([number % 2, 2]), number % 2 == 1, number) for number in range(200)]
    plain = list(label_rows(rows, Labelling(forget=0.3, retain=0.3)))
    extended = list(label_rows(rows, Labelling(forget=0.3, retain=0.3, extend=True)))
    assert {row.known for row in plain if row.is_forget} == {1, -1}
    assert {row.known for row in extended if row.is_forget} == {1}  # one token tells them apart
    assert [row.known for row in extended if not row.is_forget] == [row.known for row in plain if not row.is_forget]
    kept = list(label_rows(rows, Labelling(forget=0.3, retain=0.3, extend=True), "labelled_forget"))
    assert not any(row.is_forget for row in kept)
    assert len(kept) == 100


def test_labels_are_extended_to_all_rows_of_a_text() -> None:
    # The second row of a text to forget looks like the texts to retain; the text as a whole does not.
    parts = {True: [[1, 1, 1, 1], [0, 1, 0]], False: [[0, 0, 0, 0], [1, 0]]}
    kinds = {number: number % 2 == 1 for number in range(100)}
    rows = [Row(torch.tensor(part), kind, number) for number, kind in kinds.items() for part in parts[kind]]
    extended = list(label_rows(rows, Labelling(forget=0.5, retain=0.5, extend=True)))
    assert {row.known for row in extended if row.is_forget} == {1}
    assert {row.known for row in extended if not row.is_forget} == {0, -1}
