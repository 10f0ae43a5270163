"""Remote shards over HTTP with every fault that a server or a network has."""

import functools
import random
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from loopback import Remote, loopback

from lightning_vista.cli import main
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.video import FrameSpec
from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.remote import RemoteError, Retries, join_path
from lightning_vista.vista.samples import read_members
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.verification import verify_shards

SIZE = 300_000
CONTENT = random.Random(0).randbytes(SIZE)
QUICK = Retries(attempts=3, read_timeout=2)


@pytest.fixture
def remote() -> Iterator[Remote]:
    with loopback() as server:
        server.files = {"000000.tar": CONTENT}
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr("lightning_vista.vista.remote.time.sleep", found.append)
    return found


def serve(remote: Remote, shards: Path) -> str:
    remote.files = {path.name: path.read_bytes() for path in shards.iterdir()}
    return remote.url


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize(
    "fault", ["503", "500", "429", "408", "drop", "cut", "stall", "stall at once", "drip", "reset"]
)
@pytest.mark.parametrize("cache_mb", [0, 1])
def test_what_passes_is_tried_again(
    remote: Remote, tmp_path: Path, fault: str, cache_mb: float, ranges: bool, says_length: bool, waits: list[float]
) -> None:
    remote.has_ranges, remote.says_length = ranges, says_length
    remote.faults.extend([fault, fault])
    storage = Storage(remote.url, tmp_path, cache_mb, Retries(attempts=3, read_timeout=1))
    if says_length or cache_mb == 0 or fault in ("503", "500", "429", "408"):
        assert storage.read_range("000000.tar", 1000, 200_000) == CONTENT[1000:201_000]
    assert all(wait <= 30 for wait in waits)


def test_the_waits_grow_and_the_error_names_the_address(remote: Remote, tmp_path: Path, waits: list[float]) -> None:
    remote.always = "503"
    url = remote.url.replace("//", "//me:hunter2@")
    with pytest.raises(RemoteError, match=r"000000\.tar: 6 attempt.*HTTP status 503.*Run the same") as caught:
        Storage(url, tmp_path, 0).read_range("000000.tar", 0, 10)
    assert "hunter2" not in str(caught.value)
    assert len(waits) == 5
    assert all(0.5 * 0.5 * 2**number <= wait <= 0.5 * 2**number for number, wait in enumerate(waits))


@pytest.mark.parametrize("fault", ["stall", "stall at once", "drip"])
def test_a_server_that_stalls_ends_in_an_error(remote: Remote, tmp_path: Path, fault: str) -> None:
    remote.always, remote.share = fault, 0.001
    with pytest.raises(RemoteError, match=r"000000\.tar: 2 attempt.*no answer in time"):
        Storage(remote.url, tmp_path, 0, Retries(attempts=2, read_timeout=1)).read_range("000000.tar", 0, SIZE)


def test_progress_renews_the_attempts(remote: Remote, tmp_path: Path) -> None:
    """A shard arrives over a line that drops every connection after a third of the rest."""
    remote.always, remote.share = "drop", 0.34
    storage = Storage(remote.url, tmp_path, 1, Retries(attempts=8, read_timeout=5))

    def end_drops(name: str) -> None:
        if remote.sent > 0.9 * SIZE:
            remote.always = ""

    remote.meanwhile = end_drops
    assert storage.read_range("000000.tar", 0, SIZE) == CONTENT
    assert remote.sent == SIZE  # nothing came twice


@pytest.mark.parametrize("status", ["403", "401"])
def test_what_does_not_pass_is_not_tried_again(remote: Remote, tmp_path: Path, status: str, waits: list[float]) -> None:
    remote.always = status
    with pytest.raises(PermissionError, match=r"000000\.tar may not be read.*key"):
        Storage(remote.url, tmp_path, 0).read_range("000000.tar", 0, 10)
    assert not waits
    remote.always = "400"
    with pytest.raises(RemoteError, match=r"000000\.tar: expected a file, got HTTP status 400"):
        Storage(remote.url, tmp_path, 0).read_range("000000.tar", 0, 10)
    assert not waits


def test_a_server_without_head_is_asked_otherwise(remote: Remote, tmp_path: Path) -> None:
    remote.has_head = False
    for ranges in (True, False):
        remote.has_ranges = ranges
        storage = Storage(remote.url, tmp_path / str(ranges), 1)
        assert storage.read_range("000000.tar", 5, 10) == CONTENT[5:15]
        assert len(list((tmp_path / str(ranges)).glob("*.tar"))) == 1


def test_a_query_stays_at_the_end_of_the_address(remote: Remote, tmp_path: Path) -> None:
    assert join_path("https://h/a/?sig=1", "x") == "https://h/a/x?sig=1"
    assert Storage(f"{remote.url}?sig=1", tmp_path, 1).read_range("000000.tar", 5, 10) == CONTENT[5:15]


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_bytes_that_arrive_damaged_are_read_again(
    remote: Remote, shards: Path, tmp_path: Path, cache_mb: float
) -> None:
    storage = Storage(serve(remote, shards), tmp_path, cache_mb, QUICK)
    for sample in ShardIndex.read(storage).samples:
        remote.faults.append("garble")
        assert read_members(storage, sample)


def test_a_damaged_copy_in_the_cache_is_fetched_again(remote: Remote, shards: Path, tmp_path: Path) -> None:
    url = serve(remote, shards)
    for number in range(4):
        storage = Storage(url, tmp_path, 1, QUICK)
        index = ShardIndex.read(storage)
        for sample in index.samples:
            assert read_members(storage, sample)
        for path in tmp_path.glob("*.tar"):
            content = path.read_bytes()
            damaged = [content[:100], content + b"x", bytes(len(content)), b""][number]
            path.write_bytes(damaged)
        datamodule = ViSTaDataModule(
            url, FrameSpec(2, size=16), train_shards=url, val_shards=url, num_workers=0, cache_dir=str(tmp_path)
        )
        for stage, loader in (("test", datamodule.test_dataloader), ("fit", datamodule.train_dataloader)):
            datamodule.setup(stage)
            videos = [video for batch in loader() for video in batch.videos]
            assert sorted(videos) == sorted(sample.video for sample in index.samples)


def test_a_shard_that_is_damaged_at_the_server_is_fetched_twice_and_named(
    remote: Remote, shards: Path, tmp_path: Path
) -> None:
    url = serve(remote, shards)
    remote.files["000000.tar"] = bytes(len(remote.files["000000.tar"]))
    storage = Storage(url, tmp_path, 1, QUICK)
    samples = [sample for sample in ShardIndex.read(storage).samples if sample.shard == "000000.tar"]
    for sample in samples:
        with pytest.raises(ShardError, match=r"shard 000000\.tar, key .*: its bytes have changed"):
            read_members(storage, sample)
    assert len(samples) > 1
    assert remote.fetched["000000.tar"] == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_verify_is_right_on_every_server(remote: Remote, shards: Path, ranges: bool) -> None:
    url, rng = serve(remote, shards), random.Random(0)
    remote.has_ranges = ranges
    count = len(verify_shards(shards).samples)
    for seed in range(5):
        faults = ["garble", *rng.choices(["503", "drop", "", ""], k=5)]
        rng.shuffle(faults)
        remote.faults.extend(faults)
        remote.says_length, remote.versions, remote.has_head = seed != 1, seed != 2, seed != 3
        assert len(verify_shards(url, 2, retries=Retries(8, 5)).samples) == count
        remote.faults.clear()
    content = bytearray(remote.files["000001.tar"])
    content[700] ^= 1
    remote.files["000001.tar"] = bytes(content)
    with pytest.raises(ShardError, match=r"1 of 13 samples in http.* are damaged:\n  - shard 000001\.tar"):
        verify_shards(url, 2, retries=QUICK)
    del remote.files["000001.tar"]
    with pytest.raises(ShardError, match=r"shard 000001\.tar.*does not exist"):
        verify_shards(url, 2, retries=QUICK)


def test_a_server_that_fails_is_not_called_damage(
    remote: Remote, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(remote, shards)
    datamodule = ViSTaDataModule(
        url, FrameSpec(2, size=16), num_workers=0, cache_dir=str(tmp_path), on_error="unscored", retries=QUICK
    )
    datamodule.setup("test")
    remote.always = "503"
    with pytest.raises(RemoteError, match="HTTP status 503"):  # not 13 unscored videos
        list(datamodule.test_dataloader())
    remote.always = ""
    secret = url.replace("//", "//me:hunter2@")
    main(["shards", "verify", f"{secret}?sig=hunter2", "--attempts", "2", "--read-timeout", "5"])
    assert "hunter2" not in capsys.readouterr().out
    remote.always = "503"
    with pytest.raises(SystemExit, match=r"index\.json.*: 2 attempt") as caught:
        main(["shards", "verify", f"{secret}?sig=hunter2", "--attempts", "2"])
    assert "hunter2" not in str(caught.value)


def test_python_as_a_server(shards: Path, tmp_path: Path) -> None:
    """`python -m http.server`, which ignores ranges."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(shards)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert len(verify_shards(url, 2).samples) == 13
        for cache_mb in (0, 1):
            storage = Storage(url, tmp_path, cache_mb)
            assert all(read_members(storage, sample) for sample in ShardIndex.read(storage).samples)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
