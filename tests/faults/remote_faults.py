"""Servers and lines with faults: shards arrive whole, or an error names the address."""

import random
from dataclasses import dataclass
from pathlib import Path

from harness import Kind, Outcome, Verdict
from loopback import Remote, loopback
from own_formats import make_dataset

from lightning_vista.vista.index import ShardError, ShardIndex
from lightning_vista.vista.remote import RemoteError, Retries
from lightning_vista.vista.samples import read_members
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.verification import verify_shards

#: What happens to some requests -> number of trials. The first ones pass, the others stay.
SUBJECTS = {
    "dropped connections": 6,
    "statuses 429 and 5xx": 5,
    "stalls": 4,
    "single bytes": 2,
    "bytes changed on the way": 4,
    "no ranges, HEAD or length": 4,
    "all of these": 5,
    "damaged copy in the cache": 4,
    "damaged at the server": 2,
    "missing at the server": 2,
    "a server that is down": 2,
}
_PASSING = {
    "dropped connections": ["drop"],
    "statuses 429 and 5xx": ["429", "500", "502", "503", "504"],
    "stalls": ["stall", "stall at once"],
    "single bytes": ["drip"],
    "bytes changed on the way": [],
    "no ranges, HEAD or length": ["503"],
    "all of these": ["drop", "503", "stall", "drip", "429"],
}


@dataclass(frozen=True)
class State:
    """Shards, and the samples in them by their keys."""

    shards: Path
    samples: dict[str, dict[str, bytes]]


def prepare(folder: Path) -> State:
    """Make the shards."""
    make_dataset(folder)
    build_shards(folder / "tasks", folder / "videos", folder / "shards", max_shard_mb=0.02)
    return State(folder / "shards", _read(Storage(folder / "shards")))


def _read(storage: Storage) -> dict[str, dict[str, bytes]]:
    return {sample.key: read_members(storage, sample) for sample in ShardIndex.read(storage).samples}


def trial(state: State, subject: str, rng: random.Random, folder: Path) -> Verdict:
    """Read or verify all shards from a server with faults."""
    with loopback() as remote:
        remote.files = {path.name: path.read_bytes() for path in state.shards.iterdir()}
        remote.share = rng.random()
        if subject in ("no ranges, HEAD or length", "all of these"):
            remote.has_ranges, remote.has_head = rng.random() < 0.5, rng.random() < 0.5
            remote.says_length, remote.versions = rng.random() < 0.7, rng.random() < 0.5
        _spoil(remote, subject, rng)
        storage = Storage(remote.url, folder / "cache", rng.choice([0, 1]), Retries(8, 1))
        try:
            if subject == "damaged copy in the cache":
                storage = Storage(remote.url, folder / "cache", 1, Retries(8, 1))
                _damage_copies(storage, folder / "cache", rng)
            if rng.random() < 0.4:
                verify_shards(remote.url, 2, retries=Retries(8, 1))
            read = _read(storage)
        except (ShardError, RemoteError, OSError) as error:
            return _judge_error(subject, str(error), remote.url)
    if subject in _PASSING or subject == "damaged copy in the cache":
        return Verdict(Outcome.SAME) if read == state.samples else Verdict(Outcome.WRONG, "other bytes")
    return Verdict(Outcome.WRONG, "not noticed")


def _spoil(remote: Remote, subject: str, rng: random.Random) -> None:
    shard = rng.choice(sorted(name for name in remote.files if name.endswith(".tar")))
    if subject in _PASSING:
        kinds = _PASSING[subject]
        faults = rng.choices(["", *kinds], k=rng.randrange(2, 6))
        if subject in ("bytes changed on the way", "all of these"):
            faults.insert(rng.randrange(len(faults)), "garble")  # one: a shard is fetched twice, not for ever
        remote.faults.extend(faults)
    elif subject == "damaged at the server":
        content = bytearray(remote.files[shard])
        content[rng.randrange(len(content) - 2000)] ^= 1 << rng.randrange(8)
        remote.files[shard] = bytes(content)
    elif subject == "missing at the server":
        del remote.files[rng.choice([shard, "index.json"])]
    elif subject == "a server that is down":
        remote.always = rng.choice(["503", "stall at once", "drop"])
        remote.share = 0.0


def _damage_copies(storage: Storage, cache: Path, rng: random.Random) -> None:
    _read(storage)
    for path in cache.glob("*.tar"):
        content = path.read_bytes()
        place = rng.randrange(len(content))
        path.write_bytes(rng.choice([content[:place], content[:place] + b"?" + content[place + 1 :], b"", content * 2]))


def _judge_error(subject: str, said: str, url: str) -> Verdict:
    if subject in _PASSING or subject == "damaged copy in the cache":
        return Verdict(Outcome.WRONG, f"given up: {said[:300]}")
    is_named = url in said or ("shard " in said and ".tar" in said)
    return Verdict(Outcome.REFUSED) if is_named else Verdict(Outcome.UNNAMED, said[:300])


KIND = Kind("remote", SUBJECTS, trial, prepare, sample=22)
