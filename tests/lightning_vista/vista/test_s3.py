"""Shards in S3, spoken by s3fs to moto's server on this machine. Neither is in the extras: see docs/scaling.md."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.video import FrameSpec
from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.remote import RemoteError, Retries
from lightning_vista.vista.samples import read_members
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.verification import verify_shards

s3fs = pytest.importorskip("s3fs")
servers = pytest.importorskip("moto.server")
QUICK = Retries(attempts=2, read_timeout=5)


@pytest.fixture
def bucket(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with the shards, as a file system."""
    server = servers.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lightning_vista.vista.remote.time.sleep", lambda seconds: None)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.makedirs("bucket", exist_ok=True)  # servers of one process share their buckets
    for path in shards.iterdir():
        files.pipe_file(f"bucket/shards/{path.name}", path.read_bytes())
    try:
        yield files
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_shards_are_read_from_a_bucket(bucket: Any, shards: Path, tmp_path: Path, cache_mb: float) -> None:
    assert len(verify_shards("s3://bucket/shards", 2, retries=QUICK).samples) == 13
    storage, local = Storage("s3://bucket/shards", tmp_path, cache_mb, QUICK), Storage(shards)
    for sample in ShardIndex.read(storage).samples:
        assert read_members(storage, sample) == read_members(local, sample)
    with storage.open("000000.tar") as file:
        assert file.read() == (shards / "000000.tar").read_bytes()
    assert len(list(tmp_path.glob("*.tar"))) == (len(list(shards.glob("*.tar"))) if cache_mb else 0)


def test_training_and_evaluation_read_a_bucket(bucket: Any, tmp_path: Path) -> None:
    url = "s3://bucket/shards"
    datamodule = ViSTaDataModule(
        url, FrameSpec(2, size=16), train_shards=url, val_shards=url, num_workers=0, cache_dir=str(tmp_path)
    )
    for stage, loader in (("test", datamodule.test_dataloader), ("fit", datamodule.train_dataloader)):
        datamodule.setup(stage)
        assert len({video for batch in loader() for video in batch.videos}) == 13


def test_damage_in_a_bucket_is_named(bucket: Any, tmp_path: Path) -> None:
    content = bytearray(bucket.cat_file("bucket/shards/000001.tar"))
    content[700] ^= 1
    bucket.pipe_file("bucket/shards/000001.tar", bytes(content))
    with pytest.raises(ShardError, match=r"1 of 13 samples in s3://bucket/shards are damaged:\n  - shard 000001\.tar"):
        verify_shards("s3://bucket/shards", 2, retries=QUICK)
    bucket.rm_file("bucket/shards/000001.tar")
    with pytest.raises(ShardError, match=r"shard 000001\.tar.*does not exist"):
        verify_shards("s3://bucket/shards", 2, retries=QUICK)
    with pytest.raises(FileNotFoundError, match=r"No index\.json in s3://bucket/none"):
        verify_shards("s3://bucket/none", 2, retries=QUICK)


def test_a_damaged_copy_of_a_bucket_is_fetched_again(bucket: Any, tmp_path: Path) -> None:
    for _ in range(2):
        storage = Storage("s3://bucket/shards", tmp_path, 1, QUICK)
        for sample in ShardIndex.read(storage).samples:
            assert read_members(storage, sample)
        for path in tmp_path.glob("*.tar"):
            path.write_bytes(bytes(path.stat().st_size))


def test_a_store_that_does_not_answer_ends_in_an_error(bucket: Any, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.rmtree(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RemoteError, match=r"bucket/shards/index\.json: 2 attempt"):
        ShardIndex.read(Storage("s3://bucket/shards", tmp_path, 1, QUICK))
