import hashlib
import pickle
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import fsspec
import lightning as L
import polars as pl
import pytest
import torch
from filelock import FileLock
from loopback import Remote, loopback

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.scorers import Scores, VLMScorer
from lightning_vista.video import FrameSpec
from lightning_vista.vista.batch import VideoBatch
from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.remote import RemoteError, Retries
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.tables import read_scores

SIZE = 100_000
NAMES = [f"{number:06d}.tar" for number in range(6)]
FORK = get_context("fork")


def content(name: str, version: str = "") -> bytes:
    return random.Random(name + version).randbytes(SIZE)


@pytest.fixture
def remote() -> Iterator[Remote]:
    with loopback() as server:
        server.files = {name: content(name) for name in NAMES}
        yield server


@pytest.fixture(autouse=True)
def _no_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


def kept(folder: Path) -> set[str]:
    """The shards that the cache holds, by their contents."""
    names = {hashlib.sha256(content(name)).hexdigest(): name for name in NAMES}
    return {names[hashlib.sha256(path.read_bytes()).hexdigest()] for path in folder.glob("*.tar")}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix not in (".tar", ".lock")]


def test_a_shard_is_fetched_once_whatever_is_read_of_it(remote: Remote, tmp_path: Path) -> None:
    storage = Storage(remote.url, tmp_path, cache_mb=1)
    assert storage.read_range(NAMES[0], 500, 1000) == content(NAMES[0])[500:1500]
    assert storage.read_range(NAMES[0], SIZE - 10, 1000) == content(NAMES[0])[-10:]
    with storage.open(NAMES[0]) as file:
        assert file.read() == content(NAMES[0])
    assert Storage(remote.url, tmp_path, cache_mb=1).read_range(NAMES[0], 0, 10) == content(NAMES[0])[:10]
    assert (remote.fetched, remote.ranges) == ({NAMES[0]: 1}, {})
    assert kept(tmp_path) == {NAMES[0]}
    assert not leftovers(tmp_path)


def test_a_missing_shard_says_so(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.tar"):
        Storage(remote.url, tmp_path).read_range("none.tar", 0, 1)


def test_local_folders_are_read_where_they_are(shards: Path, tmp_path: Path) -> None:
    for address in (shards, str(shards), f"file://{shards}"):
        storage = Storage(address, tmp_path / "cache")
        assert storage.read_range("000000.tar", 10, 50) == (shards / "000000.tar").read_bytes()[10:60]
    assert not (tmp_path / "cache").exists()


def test_by_default_shards_are_kept_in_the_users_cache(remote: Remote, tmp_path: Path) -> None:
    Storage(remote.url).read_range(NAMES[0], 0, 1)
    assert kept(tmp_path / "user" / "lightning_vista" / "shards") == {NAMES[0]}


def test_the_least_recently_used_shards_make_room(remote: Remote, tmp_path: Path) -> None:
    storage = Storage(remote.url, tmp_path, cache_mb=0.3)
    for number in (0, 1, 2, 0, 3):  # 1 was not used for the longest time
        storage.read_range(NAMES[number], 0, 1)
    assert kept(tmp_path) == {NAMES[0], NAMES[2], NAMES[3]}
    assert Storage(remote.url, tmp_path, cache_mb=0.1).read_range(NAMES[4], 0, 5) == content(NAMES[4])[:5]
    assert kept(tmp_path) == {NAMES[4]}
    assert storage.read_range(NAMES[0], 0, 5) == content(NAMES[0])[:5]  # gone, so fetched again
    assert remote.fetched[NAMES[0]] == 2


def test_an_open_shard_stays_readable_when_it_makes_room(remote: Remote, tmp_path: Path) -> None:
    storage = Storage(remote.url, tmp_path, cache_mb=0.1)
    with storage.open(NAMES[0]) as file:
        storage.read_range(NAMES[1], 0, 1)
        assert kept(tmp_path) == {NAMES[1]}
        assert file.read() == content(NAMES[0])


@pytest.mark.parametrize(("cache_mb", "versions"), [(0, True), (0.05, True), (1, False)])
def test_what_cannot_be_kept_is_read_in_parts(remote: Remote, tmp_path: Path, cache_mb: float, versions: bool) -> None:
    """Nothing may be kept, the shard is larger than the bound, or its version is unknown."""
    remote.versions = versions
    storage = Storage(remote.url, tmp_path / "cache", cache_mb)
    for _ in range(2):
        assert storage.read_range(NAMES[0], 500, 1000) == content(NAMES[0])[500:1500]
    with storage.open(NAMES[0]) as file:
        assert file.read() == content(NAMES[0])
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ValueError, match="cache_mb"):
        Storage(remote.url, cache_mb=-1)


def test_a_changed_remote_is_fetched_anew(remote: Remote, tmp_path: Path) -> None:
    Storage(remote.url, tmp_path, cache_mb=1).read_range(NAMES[0], 0, 10)
    remote.files[NAMES[0]] = content(NAMES[0], "changed")  # of the same size
    storage = Storage(remote.url, tmp_path, cache_mb=1)
    assert storage.read_range(NAMES[0], 0, 10) == content(NAMES[0], "changed")[:10]


def test_two_addresses_do_not_mix(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for folder in ("a", "b"):
        memory.pipe_file(f"/{folder}/0.tar", folder.encode())
    read = [Storage(f"memory://{folder}", tmp_path, cache_mb=1).read_range("0.tar", 0, 9) for folder in ("a", "b")]
    assert read == [b"a", b"b"]
    memory.pipe_file("/a/0.tar", b"c")
    assert Storage("memory://a", tmp_path, cache_mb=1).read_range("0.tar", 0, 9) == b"c"


def test_a_remote_that_changes_while_it_is_fetched_is_an_error(remote: Remote, tmp_path: Path) -> None:
    remote.meanwhile = lambda name: remote.files.update({name: content(name, "changed")})
    with pytest.raises(OSError, match="changed while it was fetched|arrived"):
        Storage(remote.url, tmp_path, cache_mb=1).read_range(NAMES[0], 0, 10)
    assert not kept(tmp_path)
    assert not leftovers(tmp_path)


def test_a_fetch_that_failed_is_resumed_where_it_stopped(remote: Remote, tmp_path: Path) -> None:
    remote.faults.extend(["drop", "stall at once"])
    storage = Storage(remote.url, tmp_path, cache_mb=1, retries=Retries(attempts=1, read_timeout=1))
    with pytest.raises(RemoteError, match=f"{NAMES[0]}.*1 attempt"):
        storage.read_range(NAMES[0], 0, 10)
    assert not kept(tmp_path)
    (part,) = leftovers(tmp_path)
    arrived = part.stat().st_size
    assert 0 < arrived <= SIZE / 2
    remote.released.set()
    remote.faults.clear()
    again = Storage(remote.url, tmp_path, cache_mb=1)  # as another process would
    assert again.read_range(NAMES[0], 0, SIZE) == content(NAMES[0])
    assert remote.sent == SIZE
    assert not leftovers(tmp_path)


def test_what_a_failed_fetch_left_makes_room_for_others(remote: Remote, tmp_path: Path) -> None:
    remote.faults.append("drop")
    storage = Storage(remote.url, tmp_path, cache_mb=0.1, retries=Retries(attempts=1))
    with pytest.raises(RemoteError):
        storage.read_range(NAMES[0], 0, 10)
    assert storage.read_range(NAMES[1], 0, 10) == content(NAMES[1])[:10]
    assert kept(tmp_path) == {NAMES[1]}
    assert not leftovers(tmp_path)


def test_files_of_others_in_the_folder_are_left_alone(remote: Remote, tmp_path: Path) -> None:
    others = ["backup.tar", "notes.part", "000000.tar", "0123.100.part", f"{'g' * 32}.tar", f"{'a' * 31}.5.part"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(1000))
    storage = Storage(remote.url, tmp_path, cache_mb=0.1)
    for name in NAMES:
        storage.read_range(name, 0, 10)
    assert all((tmp_path / name).read_bytes() == bytes(1000) for name in others)


def test_the_index_is_never_an_old_one(shards: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/indexed", recursive=True)
    storage = Storage("memory://indexed", tmp_path, cache_mb=1)
    old = ShardIndex.read(storage)
    memory.pipe_file("/indexed/index.json", replace(old, plan="another").to_bytes())
    assert (len(old.plan), ShardIndex.read(storage).plan) == (64, "another")


def test_a_storage_can_be_pickled(remote: Remote, tmp_path: Path) -> None:
    storage = pickle.loads(pickle.dumps(Storage(remote.url, tmp_path, cache_mb=1)))
    assert storage.read_range(NAMES[0], 0, 10) == content(NAMES[0])[:10]


def read_at_random(storage: Storage, seed: int, times: int) -> None:
    rng = random.Random(seed)
    for _ in range(times):
        name, offset, length = rng.choice(NAMES), rng.randrange(SIZE), rng.randrange(2000)
        if storage.read_range(name, offset, length) != content(name)[offset : offset + length]:
            raise ValueError(f"wrong bytes of {name}")


def read_all(storage: Storage, seed: int) -> None:
    for name in random.Random(seed).sample(NAMES, len(NAMES)):
        with storage.open(name) as file:
            if file.read() != content(name):
                raise ValueError(f"wrong bytes of {name}")


def test_processes_that_want_the_same_shards_fetch_each_once(remote: Remote, tmp_path: Path) -> None:
    remote.seconds_per_file = 0.1
    storage = Storage(remote.url, tmp_path, cache_mb=1)
    processes = [FORK.Process(target=read_all, args=(storage, seed % 2)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert remote.fetched == dict.fromkeys(NAMES, 1)
    assert kept(tmp_path) == set(NAMES)


@pytest.mark.parametrize("max_shards", [1, 2])
def test_the_bound_holds_while_many_processes_fetch(remote: Remote, tmp_path: Path, max_shards: int) -> None:
    storage = Storage(remote.url, tmp_path, cache_mb=0.1 * max_shards + 0.05)
    processes = [FORK.Process(target=read_at_random, args=(storage, seed, 10)) for seed in range(4)]
    for process in processes:
        process.start()
    most, running = 0, True
    while running:
        running = any(process.is_alive() for process in processes)  # the folder is read once more after the last ends
        with FileLock(tmp_path / "all.lock"):  # the folder does not change meanwhile
            sizes = [p.stat().st_size for p in tmp_path.glob("*") if p.exists() and p.suffix != ".lock"]
        most = max(most, sum(sizes))
        processes[0].join(0.02)
    assert [process.exitcode for process in processes] == [0] * 4
    assert SIZE <= most <= (max_shards + 0.5) * SIZE
    assert not leftovers(tmp_path)


def test_killed_at_any_moment_nothing_half_is_left(remote: Remote, tmp_path: Path) -> None:
    remote.seconds_per_file = 0.2
    rng, kills = random.Random(0), 0
    while kills < 8:
        storage = Storage(remote.url, tmp_path, cache_mb=0.25)
        process = FORK.Process(target=read_all, args=(storage, kills))
        process.start()
        process.join(rng.uniform(0, 0.6))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert len(kept(tmp_path)) <= 2  # every file is the whole of some shard
    remote.seconds_per_file = 0
    (tmp_path / f"{'0' * 32}.100000.part").write_bytes(b"left by a process that was killed")
    read_all(Storage(remote.url, tmp_path, cache_mb=0.25), 0)
    assert not leftovers(tmp_path)


def test_what_a_killed_process_left_of_a_shard_does_not_block_it(remote: Remote, tmp_path: Path) -> None:
    Storage(remote.url, tmp_path, cache_mb=0.1).read_range(NAMES[0], 0, 1)
    (shard,) = tmp_path.glob("*.tar")
    shard.rename(shard.with_suffix(f".{SIZE}.part"))  # without room for both
    process = FORK.Process(target=Storage(remote.url, tmp_path, cache_mb=0.1).read_range, args=(NAMES[0], 0, 1))
    process.start()
    process.join(300)
    process.kill()
    assert kept(tmp_path) == {NAMES[0]}
    assert not leftovers(tmp_path)


class Brightness(VLMScorer):
    """Scores that depend on the frames."""

    frame_spec = FrameSpec(num_frames=2, size=16)

    def score(self, batch: VideoBatch) -> list[list[Scores]]:
        means = batch.frames.double().mean(dim=(1, 2, 3, 4))
        return [
            [Scores(mean / (1 + torch.arange(len(candidates.labels)))) for candidates in sets]
            for mean, sets in zip(means, batch.candidates, strict=True)
        ]


def evaluate(datamodule: ViSTaDataModule, run_dir: Path) -> pl.DataFrame:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[Evaluation(str(run_dir))],
    )
    trainer.test(Brightness(), datamodule, verbose=False)
    return read_scores(run_dir).rows


@pytest.mark.parametrize("cache_mb", [0, 0.012, 1])
def test_evaluation_of_a_remote_gives_the_same_scores(
    remote: Remote, shards: Path, tmp_path: Path, cache_mb: float
) -> None:
    remote.files = {path.name: path.read_bytes() for path in shards.iterdir()}
    local = evaluate(ViSTaDataModule(str(shards), Brightness.frame_spec, num_workers=0), tmp_path / "local")
    far = ViSTaDataModule(
        remote.url,
        Brightness.frame_spec,
        num_workers=2,
        batch_size=2,
        cache_dir=str(tmp_path / "cache"),
        cache_mb=cache_mb,
    )
    assert evaluate(far, tmp_path / "far").equals(local)
    if cache_mb == 1:
        assert remote.fetched == {name: 1 for name in remote.files}


def test_training_streams_a_remote(remote: Remote, shards: Path, tmp_path: Path) -> None:
    remote.files = {path.name: path.read_bytes() for path in shards.iterdir()}
    datamodule = ViSTaDataModule(
        train_shards=remote.url, val_shards=remote.url, num_workers=2, cache_dir=str(tmp_path), cache_mb=1
    )
    datamodule.setup("fit")
    batches = datamodule.train_dataloader()
    for _ in range(2):
        assert sorted(video for batch in batches for video in batch.videos) == sorted(
            sample.video for sample in datamodule.index("train").samples
        )
    assert all(count == 1 for name, count in remote.fetched.items() if name.endswith(".tar"))


def test_a_remote_that_no_longer_fits_its_index_is_noticed(remote: Remote, shards: Path, tmp_path: Path) -> None:
    remote.files = {path.name: path.read_bytes() for path in shards.iterdir()}
    datamodule = ViSTaDataModule(remote.url, Brightness.frame_spec, num_workers=0, cache_dir=str(tmp_path), cache_mb=1)
    datamodule.setup("test")
    remote.files["000000.tar"] = bytes(len(remote.files["000000.tar"]))
    with pytest.raises(ShardError, match="its bytes have changed since the index was written"):
        list(datamodule.test_dataloader())
