import pytest
import torch

from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.dual import frame_memory
from lightning_vista.scorers.dual.frame_memory import FrameMemory


def frames(*numbers: int) -> torch.Tensor:
    return torch.stack([torch.full((3, 4, 4), number, dtype=torch.uint8) for number in numbers])


def test_equal_frames_are_encoded_once() -> None:
    asked: list[int] = []

    def encode(new: torch.Tensor) -> torch.Tensor:
        asked.extend(new[:, 0, 0, 0].tolist())
        return new.float().mean(dim=(1, 2, 3))[:, None] * 2

    memory = FrameMemory()
    assert memory.encode(frames(5, 7, 5, 7, 9), encode).flatten().tolist() == [10, 14, 10, 14, 18]
    assert memory.encode(frames(9, 3), encode).flatten().tolist() == [18, 6]
    assert sorted(asked) == [3, 5, 7, 9]
    memory.clear()
    memory.encode(frames(3), encode)
    assert asked[-1] == 3
    assert len(asked) == 5


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_memory, "_REMEMBERED", 2)
    memory = FrameMemory()
    found = memory.encode(frames(1, 2, 3), lambda new: new.float()[:, 0, 0, :1])
    assert found.flatten().tolist() == [1, 2, 3]
    assert len(memory) == 2


@pytest.mark.parametrize("head", ["mean", "temporal", "slot"])
def test_the_memory_changes_no_embedding(head: str) -> None:
    scorer = DualEncoderScorer(head, weights="shipped").eval()  # type: ignore[arg-type]
    few = torch.randint(256, (5, 3, 96, 96), dtype=torch.uint8)
    videos = few[torch.randint(5, (4, 16))]
    with torch.no_grad():
        remembered = scorer.embed_videos(videos)
        again = scorer.embed_videos(videos)
    with torch.enable_grad():  # where nothing is remembered
        fresh = scorer.embed_videos(videos).detach()
    assert torch.equal(remembered, again)
    assert torch.allclose(remembered, fresh, atol=1e-6)


def test_other_weights_make_it_forget() -> None:
    scorer = DualEncoderScorer("mean", weights="shipped").eval()
    videos = torch.randint(256, (2, 16, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        before = scorer.embed_videos(videos)
        state = {
            name: value + 0.1 if value.is_floating_point() else value for name, value in scorer.state_dict().items()
        }
        scorer.load_state_dict(state)
        after = scorer.embed_videos(videos)
    other = DualEncoderScorer("mean", weights="shipped").eval()
    other.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(after, other.embed_videos(videos))
    assert not torch.allclose(before, after)
