import json
import random
import shutil
from pathlib import Path

import pytest
from hostile_samples import HOSTILE_SAMPLES, huge_jpeg, packed_frames, replace_sample

from lightning_vista.evaluation.example_videos import read_examples, write_examples
from lightning_vista.reports.lmms_eval_task import export_lmms_eval
from lightning_vista.video import FrameSpec, VideoError
from lightning_vista.video.encoding import decode_jpeg
from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.samples import pack_sample, unpack_sample
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.streams import EvaluationStream
from lightning_vista.vista.verification import verify_shards

SPEC = FrameSpec(num_frames=3)


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "shards"))


def test_a_sample_of_frames_is_accepted(copy: Path) -> None:
    sample = replace_sample(copy, packed_frames)
    storage = Storage(copy)
    batch = next(iter(EvaluationStream(storage, verify_shards(copy), SPEC, batch_size=1)))
    assert batch.videos == (sample.video,)
    assert batch.frame_indices == ((0, 1, 2),)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", HOSTILE_SAMPLES)
@pytest.mark.parametrize("seed", range(4))
def test_a_hostile_sample_is_named_by_all_that_read_it(copy: Path, tmp_path: Path, kind: str, seed: int) -> None:
    rng = random.Random(seed)
    sample = replace_sample(copy, lambda sample: HOSTILE_SAMPLES[kind](rng, sample))
    storage = Storage(copy)
    index = ShardIndex.read(storage)
    with pytest.raises(ShardError, match=f"1 of 13 samples(.|\n)*{sample.video}: ") as error:
        verify_shards(copy)
    assert len(str(error.value)) < 1000
    with pytest.raises(ShardError, match=f"{sample.video}: .*on_error unscored"):
        next(iter(EvaluationStream(storage, index, SPEC)))
    batches = list(EvaluationStream(storage, index, SPEC, on_error="unscored"))
    assert [question.video for batch in batches for question, _ in batch.unreadable] == [sample.video]
    write_examples(tmp_path, index, storage)
    named = {entry["video"] for entry in read_examples(tmp_path)}
    assert named == {each.video for each in index.samples} - {sample.video}
    with pytest.raises(ShardError, match=sample.video):
        export_lmms_eval(copy, tmp_path / "task")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["negative size", "negative octal size"])
def test_negative_sizes_are_refused(shards: Path, kind: str) -> None:
    sample = ShardIndex.read(Storage(shards)).samples[0]
    with pytest.raises(ValueError, match="expected a size of 0 or more, got -"):
        unpack_sample(HOSTILE_SAMPLES[kind](random.Random(0), sample))


def test_a_picture_beyond_pillows_own_limit_is_refused() -> None:
    with pytest.raises(VideoError, match="at most 40,000,000 pixels"):
        decode_jpeg(huge_jpeg())


@pytest.mark.parametrize("document", [[], "a", None])
def test_a_description_is_an_object(copy: Path, document: object) -> None:
    text = json.dumps(document).encode()
    sample = replace_sample(copy, lambda sample: pack_sample(sample.key, [("json", text), ("mp4", b"")]))
    with pytest.raises(ShardError, match=f"{sample.video}: expected an object as its description"):
        verify_shards(copy)
