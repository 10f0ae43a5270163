import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_vista.scorers.dual.losses import PairBatch, across_sets, frames_to_clauses, slots_to_clauses, within_sets

LEVELS = torch.tensor([1, 1, 3, 3, 2])  # of five descriptions, in three problem sets
BATCH = PairBatch(
    frames=torch.zeros(4, 5, 7),
    video_groups=torch.tensor([0, 1, 1, 2]),
    answers=torch.tensor([1, 2, 3, 4]),
    steps=torch.tensor([[0, 0, 0, 0, 0], [0, -1, 1, 2, 2], [-1, -1, 0, 1, -1], [-1, 0, 0, 1, -1]]),
    texts=("", "", "", "", ""),
    text_groups=torch.tensor([0, 0, 1, 1, 2]),
    levels=LEVELS,
)


def surprise(logits: Tensor, answer: int) -> float:
    return float(-logits.log_softmax(0)[answer])


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def test_a_description_competes_within_its_set(logits: Tensor) -> None:
    own = [(0, [0, 1], 1), (1, [2, 3], 0), (2, [2, 3], 1), (3, [4], 0)]
    expected = mean([surprise(logits[video, texts], answer) for video, texts, answer in own])
    assert within_sets(logits, BATCH) == pytest.approx(expected)


def test_descriptions_of_several_steps_compete_across_sets(logits: Tensor) -> None:
    expected = mean([surprise(logits[video, 2:], answer) for video, answer in ((1, 0), (2, 1), (3, 2))])
    assert across_sets(logits, BATCH) == pytest.approx(expected)


def test_frames_tell_the_clauses_of_their_description_apart() -> None:
    generator = torch.Generator().manual_seed(1)
    frames, clauses = torch.randn(4, 5, 16, generator=generator), torch.randn(5, 3, 16, generator=generator)
    expected = []
    for video in (1, 2, 3):
        own = clauses[BATCH.answers[video]][: LEVELS[BATCH.answers[video]]]
        for frame, step in enumerate(BATCH.steps[video].tolist()):
            if step >= 0:
                expected.append(surprise(own @ frames[video, frame] / 4, step))
    assert frames_to_clauses(frames, clauses, BATCH) == pytest.approx(mean(expected))


def test_the_nth_slot_is_for_the_nth_clause() -> None:
    generator = torch.Generator().manual_seed(2)
    slots, clauses = (normalize(torch.randn(n, 8, 16, generator=generator), dim=-1) for n in (4, 5))
    expected = []
    for video in (1, 2, 3):
        level = int(LEVELS[BATCH.answers[video]])
        own = clauses[BATCH.answers[video]][:level]
        expected += [surprise(10 * own @ slots[video, step], step) for step in range(level)]
    assert slots_to_clauses(slots, clauses, torch.tensor(10.0), BATCH) == pytest.approx(mean(expected))
