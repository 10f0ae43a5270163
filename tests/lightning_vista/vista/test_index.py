import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_data import moving_square

from lightning_vista.cli import main
from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.files.own_files import SEAL_KEY, VERSION_KEY, to_sealed_json
from lightning_vista.video import encode_mp4
from lightning_vista.vista import LabelledVideo, ProblemSet, write_problem_sets
from lightning_vista.vista.index import INDEX_VERSION, ShardError, ShardIndex
from lightning_vista.vista.mini_state import STATE_FILE, STATE_VERSION, recorded_split
from lightning_vista.vista.shards import build_shards
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
    "a split that is not a name": (lambda document: document.update(split="a\nb"), "expected a name of up to 40"),
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
    "a label of a sample that is not a text": (
        lambda document: document["samples"][0]["memberships"][0].update(labels=[5]),
        "damaged",
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


def test_labels_may_have_the_names_of_a_samples_entries(tmp_path: Path) -> None:
    names = ["key", "video", "shard", "offset", "bytes", "sha256", "memberships", "source_sha256"]
    texts = {name: f"We see {name}" for name in names}
    problem_set = ProblemSet("toy/level_1/objects/x", texts, (LabelledVideo("a.mp4", ("memberships",)),), extra=texts)
    write_problem_sets([problem_set], tmp_path)
    (tmp_path / "videos/toy").mkdir(parents=True)
    (tmp_path / "videos/toy/a.mp4").write_bytes(encode_mp4(moving_square(0)))
    index = build_shards(tmp_path / "tasks", tmp_path / "videos", tmp_path / "shards")
    assert ShardIndex.read(Storage(tmp_path / "shards")) == index
    assert index.problem_sets[0].descriptions == index.problem_sets[0].extra == texts


def test_the_split_is_recorded_where_it_is_known(dataset: Path, shards: Path, tmp_path: Path) -> None:
    source = [str(dataset / "tasks"), str(dataset / "videos"), str(tmp_path / "out"), "--max-shard-mb", "0.008"]
    main(["shards", "build", *source])
    unknown = (tmp_path / "out/index.json").read_bytes()
    assert unknown == (shards / "index.json").read_bytes()
    assert b'"split"' not in unknown
    assert ShardIndex.read(Storage(tmp_path / "out")).split is None
    main(["shards", "build", *source, "--split", "held out"])  # packs nothing again
    index = ShardIndex.read(Storage(tmp_path / "out"))
    assert index.split == "held out"
    assert index.to_bytes() == (tmp_path / "out/index.json").read_bytes()
    assert replace(index, split=None).to_bytes() == unknown
    data = ViSTaDataModule(str(tmp_path / "out"), problem_sets=["toy/*"])
    data.setup("test")
    assert data.index().split == "held out"
    with pytest.raises(SystemExit, match="`split`: expected a name of up to 40 characters such as test"):
        main(["shards", "build", *source, "--split", ""])


def test_only_the_embedded_dataset_records_its_split(tmp_path: Path) -> None:
    tasks, state = tmp_path / "val" / "tasks", tmp_path / STATE_FILE
    tasks.mkdir(parents=True)
    assert recorded_split(tasks) is None  # a name alone says nothing
    for theirs in (b"", b"[1, 2]", b'{"name": "mini"}'):
        state.write_bytes(theirs)
        assert recorded_split(tasks) is None
    settings = {"version": 3, "seed": 0, "scale": 1.0, "splits": ["test", "val"]}
    state.write_bytes(to_sealed_json({"settings": settings}, STATE_VERSION))
    assert recorded_split(tasks) == recorded_split(f"{tasks}/") == "val"
    for other in (
        tmp_path / "train/tasks",
        tmp_path / "val/videos",
        tmp_path / "val",
        tmp_path / "a/val/tasks",
        Path("/"),
    ):
        assert recorded_split(other) is None
    state.write_bytes(state.read_bytes().replace(b"val", b"vol"))
    with pytest.raises(ValueError, match=r"mini\.json is damaged.* `lightning-vista mini`"):
        recorded_split(tasks)
