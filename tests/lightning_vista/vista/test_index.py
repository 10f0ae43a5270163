import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.files.own_files import SEAL_KEY, VERSION_KEY, to_sealed_json
from lightning_vista.vista.index import INDEX_VERSION, ShardError, ShardIndex
from lightning_vista.vista.storage import Storage

Change = Callable[[dict[str, Any]], object]


def first(key: str, value: object) -> Change:
    return lambda document: document["samples"][0].update({key: value})


CHANGES: dict[str, tuple[Change, str]] = {
    "a key that leads out of the folder": (first("key", "../../../x"), r"expected the key [0-9a-f]{16}, got '\.\./"),
    "the key of another video": (
        lambda document: document["samples"][0].update(key=document["samples"][1]["key"]),
        "expected the key",
    ),
    "a key that is not a text": (first("key", 5), "expected the key"),
    "a video that leads out of the folder": (first("video", "../x.mp4"), "expected paths of videos"),
    "an absolute video": (first("video", "/etc/x"), "expected paths of videos"),
    "a video with a line break": (first("video", "toy/a\nb"), "expected paths of videos"),
    "a video without an environment": (first("video", "a.mp4"), "expected paths of videos"),
    "another file than a shard": (first("shard", "../000000.tar"), "expected the name of a shard"),
    "a command in place of a shard": (first("shard", "pipe:ls"), "expected the name of a shard"),
    "a negative offset": (first("offset", -1), "expected an offset"),
    "an offset that is not a number": (first("offset", "0"), "expected an offset"),
    "an endless sample": (first("bytes", 10**30), "expected an offset"),
    "no samples": (lambda document: document.update(samples=None), "damaged"),
    "samples of another form": (lambda document: document.update(samples=[[1]]), "damaged"),
    "a video twice": (lambda document: document["samples"].append(document["samples"][0]), "listed twice"),
    "an id that leads out of the folder": (
        lambda document: document["problem_sets"][0].update(id="../../x/level_2/remix/y"),
        "unknown problem sets|expected ids",
    ),
    "descriptions that are not texts": (
        lambda document: document["problem_sets"][0]["descriptions"].update({"c": 5}),
        "expected descriptions",
    ),
    "a label without a description": (
        lambda document: document["samples"][0]["memberships"][0].update(labels=["zzz"]),
        "expected labels with a description",
    ),
    "an entry too many": (lambda document: document["problem_sets"][0].update(run="x"), "damaged"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_index_from_anywhere_is_checked_whenever_it_is_read(change: str, shards: Path, tmp_path: Path) -> None:
    """The seal fits: whoever changes an index can seal it again."""
    alter, message = CHANGES[change]
    document = json.loads((shards / "index.json").read_bytes())
    alter(document)
    plain = {key: value for key, value in document.items() if key not in (VERSION_KEY, SEAL_KEY)}
    (tmp_path / "index.json").write_bytes(to_sealed_json(plain, INDEX_VERSION))
    with pytest.raises(ShardError, match=message) as caught:
        ShardIndex.read(Storage(tmp_path))
    assert f"index.json in {tmp_path}" in str(caught.value)
    with pytest.raises(ShardError, match=message):
        ViSTaDataModule(str(tmp_path)).setup("test")
