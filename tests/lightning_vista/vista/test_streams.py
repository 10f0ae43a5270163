import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_vista.video import FrameSpec, decode_video
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import EvaluationStream, SampleStream, TrainingStream

SPEC = FrameSpec(num_frames=3, size=16)


def loader(
    stream: type[SampleStream],
    folder: Path,
    num_workers: int = 0,
    spec: FrameSpec = SPEC,
    **settings: Any,  # of the stream
) -> DataLoader[VideoBatch]:
    storage = Storage(folder)
    if stream is TrainingStream:
        settings["num_workers"] = num_workers
    return DataLoader(
        stream(storage, ShardIndex.read(storage), spec, **settings), batch_size=None, num_workers=num_workers
    )


def videos(batches: DataLoader[VideoBatch]) -> list[str]:
    return [video for batch in batches for video in batch.videos]


@pytest.fixture
def one_shard(dataset: Path, tmp_path: Path) -> Path:
    build_shards(dataset / "tasks", dataset / "videos", tmp_path / "one")
    return tmp_path / "one"


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("world_size", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_reads_every_sample_once_in_order(
    shards: Path, num_workers: int, world_size: int, batch_size: int
) -> None:
    if num_workers and batch_size == 1:
        pytest.skip("covered by the larger batch; workers take a while to start")
    samples = [sample.video for sample in ShardIndex.read(Storage(shards)).samples]
    seen = []
    for rank in range(world_size):
        batches = loader(EvaluationStream, shards, num_workers, rank=rank, world_size=world_size, batch_size=batch_size)
        mine = list(batches)
        assert len(mine) == len(batches)
        assert [video for batch in mine for video in batch.videos] == samples[rank::world_size]
        seen += [video for batch in mine for video in batch.videos]
    assert sorted(seen) == samples


@pytest.mark.parametrize("folder", ["shards", "one_shard"])
@pytest.mark.parametrize("num_workers", [0, 3, 6])
def test_training_streams_every_sample_once(folder: str, num_workers: int, request: pytest.FixtureRequest) -> None:
    shards: Path = request.getfixturevalue(folder)
    samples = [sample.video for sample in ShardIndex.read(Storage(shards)).samples]
    batches = loader(TrainingStream, shards, num_workers, batch_size=2)
    torch.manual_seed(0)
    first = list(batches)
    assert len(first) == len(batches)
    order = [video for batch in first for video in batch.videos]
    assert sorted(order) == samples
    assert order != samples
    assert videos(batches) != order  # another epoch, another order
    torch.manual_seed(0)
    assert videos(batches) == order


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_ranks_share_the_samples_and_stop_together(shards: Path, num_workers: int) -> None:
    ranks = [loader(TrainingStream, shards, num_workers, rank=rank, world_size=2, batch_size=2) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    seen = [videos(rank) for rank in ranks]
    assert not set(seen[0]) & set(seen[1])
    assert len(set(seen[0]) | set(seen[1])) >= 12  # with 7 and 6 samples, the rank with more leaves its last out


def test_more_processes_than_training_videos_are_refused(shards: Path) -> None:
    with pytest.raises(ValueError, match=r"one training video for each of 14 process\(es\), got 13"):
        loader(TrainingStream, shards, rank=0, world_size=14)


def test_batches_hold_frames_candidates_and_targets(dataset: Path, shards: Path) -> None:
    batch = next(batch for batch in loader(EvaluationStream, shards, batch_size=13))
    number = batch.videos.index("toy/clips/shared v1.0.mp4")
    expected = decode_video((dataset / "videos" / batch.videos[number]).read_bytes(), SPEC)
    assert torch.equal(batch.frames[number], expected.frames)
    assert batch.frame_indices[number] == tuple(expected.indices)
    objects, order = batch.candidates[number]
    assert objects.descriptions == ("We see a ball", "We see a cup", "We see a key")
    assert (objects.hint, order.hint) == ("Describe each frame.", None)
    assert batch.questions[number].targets == ((True, False, False), (True, False))
    assert batch.questions[0].targets == ((True, True, False),)  # multi-label
    assert {question.targets for question in batch.without_targets().questions} == {None}


def test_frames_stored_in_the_shards_are_those_of_the_videos(dataset: Path, shards: Path, tmp_path: Path) -> None:
    build_shards(dataset / "tasks", dataset / "videos", tmp_path, frames=FrameSpec(num_frames=12, size=16))
    for spec in (SPEC, FrameSpec(num_frames=12, size=16)):  # every frame is stored, so any choice can be met
        stored = next(iter(loader(EvaluationStream, tmp_path, spec=spec, batch_size=13)))
        decoded = next(iter(loader(EvaluationStream, shards, spec=spec, batch_size=13)))
        assert stored.frame_indices == decoded.frame_indices
        assert (stored.frames.float() - decoded.frames.float()).abs().mean() < 2  # of 255: JPEG


def test_stored_frames_that_do_not_fit_are_an_error(dataset: Path, tmp_path: Path) -> None:
    build_shards(dataset / "tasks", dataset / "videos", tmp_path, frames=FrameSpec(num_frames=3, size=16))
    with pytest.raises(ShardError, match=r"expected the frames of these shards, .*size=16.*, got .*size=32"):
        loader(EvaluationStream, tmp_path, spec=FrameSpec(num_frames=3, size=32))
    with pytest.raises(ShardError, match=r"frames \[4, 7\] are wanted .* but the shards hold only \[0, 6, 11\]"):
        videos(loader(EvaluationStream, tmp_path, spec=FrameSpec(num_frames=4, size=16)))


def damage(shards: Path, out: Path) -> str:
    """A copy of the shards in which one video is damaged; its name."""
    shutil.copytree(shards, out)
    sample = ShardIndex.read(Storage(out)).samples[3]
    with (out / sample.shard).open("r+b") as file:
        file.seek(sample.offset + 1500)
        file.write(b"\xff" * 64)
    return sample.video


def test_a_damaged_sample_is_named(shards: Path, tmp_path: Path) -> None:
    video = damage(shards, tmp_path / "out")
    with pytest.raises(ShardError, match=rf"shard 0000\d\d.tar, key [0-9a-f]{{16}}, video {video}"):
        videos(loader(EvaluationStream, tmp_path / "out"))


def test_a_damaged_sample_can_be_left_unscored(shards: Path, tmp_path: Path) -> None:
    video = damage(shards, tmp_path / "out")
    batches = list(loader(EvaluationStream, tmp_path / "out", batch_size=1, on_error="unscored"))
    (unreadable,) = [entry for batch in batches for entry in batch.unreadable]
    assert unreadable[0].video == video
    assert "its bytes have changed" in unreadable[1]
    assert sum(len(batch) for batch in batches) == 12


def test_videos_of_different_sizes_need_a_size(dataset: Path, tmp_path: Path) -> None:
    from tiny_data import moving_square

    from lightning_vista.video import encode_mp4

    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    (copy / "videos/toy/clips/0.mp4").write_bytes(encode_mp4(moving_square(0, height=64, width=64)))
    build_shards(copy / "tasks", copy / "videos", tmp_path / "out")
    with pytest.raises(ValueError, match=r"differ in size .*Set FrameSpec.size"):
        videos(loader(EvaluationStream, tmp_path / "out", spec=FrameSpec(num_frames=2, size=None), batch_size=13))


def test_the_error_of_a_damaged_video_says_how_to_go_without_it(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "out")
    shard = next((tmp_path / "out").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    content[1500:1564] = b"\xff" * 64
    shard.write_bytes(content)
    with pytest.raises(ShardError, match="set --data.on_error unscored"):
        list(loader(EvaluationStream, tmp_path / "out", batch_size=1))
