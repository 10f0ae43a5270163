import hashlib
import io
import json
import os
import random
import re
import shutil
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
import webdataset
from killing import build_small_shards, killed_after
from tiny_data import moving_square, tiny_problem_sets

from lightning_vista.files.own_files import EMPTY_SEAL, seal
from lightning_vista.video import FrameSpec, encode_mp4
from lightning_vista.vista import read_problem_sets
from lightning_vista.vista import shards as shards_module
from lightning_vista.vista.index import ShardError, ShardIndex, sample_key
from lightning_vista.vista.samples import decode_members, read_members, unpack_sample
from lightning_vista.vista.shards import build_shards
from lightning_vista.vista.storage import Storage
from lightning_vista.vista.verification import verify_shards

pytestmark = pytest.mark.portable


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_video_is_packed_once_with_all_its_memberships(dataset: Path, shards: Path) -> None:
    index = ShardIndex.read(Storage(shards))
    expected = {problem_set.video_key(video) for problem_set in tiny_problem_sets() for video in problem_set.videos}
    assert [sample.video for sample in index.samples] == sorted(expected)
    shared = next(sample for sample in index.samples if sample.video == "toy/clips/shared v1.0.mp4")
    assert [(m.problem_set, m.labels) for m in shared.memberships] == [
        ("toy/foundation/objects/shapes", ("ball",)),
        ("toy/level_2/permutation/order", ("ab",)),
    ]
    assert len({sample.shard for sample in index.samples}) > 2


def test_samples_lie_where_the_index_says_with_untouched_videos(dataset: Path, shards: Path) -> None:
    for sample in ShardIndex.read(Storage(shards)).samples:
        with (shards / sample.shard).open("rb") as file:
            file.seek(sample.offset)
            packed = file.read(sample.bytes)
        assert hashlib.sha256(packed).hexdigest() == sample.sha256
        members = unpack_sample(packed)
        assert members["mp4"] == (dataset / "videos" / sample.video).read_bytes()
        description = json.loads(members["json"])
        assert (description["video"], description["environment"]) == (sample.video, sample.video.split("/")[0])


@pytest.mark.filterwarnings("ignore:.*unclosed file:pytest.PytestUnraisableExceptionWarning")  # of webdataset
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_and_tar_read_the_shards(shards: Path) -> None:
    index = ShardIndex.read(Storage(shards))
    urls = sorted(str(path) for path in shards.glob("*.tar"))
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [sample_key(sample.video) for sample in index.samples]
    assert {frozenset(sample) & {"mp4", "json"} for sample in read} == {frozenset({"mp4", "json"})}
    with tarfile.open(urls[0]) as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_the_index_holds_the_problem_sets_and_totals(shards: Path) -> None:
    index = ShardIndex.read(Storage(shards))
    by_id = {problem_set.id: problem_set for problem_set in index.problem_sets}
    for original in tiny_problem_sets():
        read = by_id[original.id]
        assert sorted(read.videos, key=lambda v: v.path) == sorted(original.videos, key=lambda v: v.path)
        assert (read.descriptions, read.hint, read.extra) == (original.descriptions, original.hint, original.extra)
    totals = json.loads((shards / "index.json").read_text())["totals"]
    assert totals["samples"] == 13
    assert totals["memberships"] == 14
    assert totals["labels"] == 16
    assert totals["bytes"] == sum(sample.bytes for sample in index.samples)


def test_the_same_input_gives_the_same_bytes(dataset: Path, shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy, copy_function=shutil.copyfile)  # other times, other folder
    build_shards(copy / "tasks", copy / "videos", tmp_path / "out", max_shard_mb=0.008, num_workers=1)
    assert contents(tmp_path / "out") == contents(shards)


def test_a_finished_build_is_left_as_it_is(dataset: Path, shards: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    build_shards(dataset / "tasks", dataset / "videos", shards, max_shard_mb=0.008)
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before


def test_another_build_in_the_same_folder_wants_overwrite(dataset: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    with pytest.raises(FileExistsError, match="--overwrite"):
        build_shards(dataset / "tasks", dataset / "videos", out, select=["toy/*"], max_shard_mb=0.008)
    index = build_shards(dataset / "tasks", dataset / "videos", out, select=["toy/*"], overwrite=True)
    assert {path.name for path in out.iterdir()} == {"000000.tar", "index.json"}
    assert {sample.video.split("/")[0] for sample in index.samples} == {"toy"}


def test_leftovers_of_a_build_killed_after_its_index_are_removed(dataset: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    shutil.copy(out / "000000.tar", out / "000099.tar")
    for name in (".000000.tar.json", ".000001.tar.tmp", ".index.json.0123abcd.part", ".000001.tar.0123abcd.part"):
        (out / name).touch()
    foreign = {"backup.tar", ".notes.tmp", "000098.tar", ".notes.0123abcd.part", "1.tar"}
    for name in foreign:
        (out / name).touch()
    build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008)
    assert {path.name for path in out.iterdir()} - set(contents(shards)) == foreign


def test_files_that_no_build_wrote_are_not_replaced(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "000000.tar").write_bytes(b"another dataset")
    with pytest.raises(FileExistsError, match="holds 000000.tar, which no build of shards wrote"):
        build_shards(dataset / "tasks", dataset / "videos", tmp_path)
    assert contents(tmp_path) == {"000000.tar": b"another dataset"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_index_that_no_build_wrote_is_not_replaced(dataset: Path, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "index.json").write_text('{"name": "my web site"}')
    with pytest.raises(FileExistsError, match="holds index.json, which no build of shards wrote") as caught:
        build_shards(dataset / "tasks", dataset / "videos", tmp_path, overwrite=overwrite)
    assert "--overwrite" not in str(caught.value)
    with pytest.raises(ShardError, match="give another folder") as read:
        ShardIndex.read(Storage(tmp_path))
    assert "--overwrite" not in str(read.value)
    assert contents(tmp_path) == {"index.json": b'{"name": "my web site"}'}


def test_a_damaged_index_is_overwritten_but_not_beside_a_foreign_shard(
    dataset: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    (out / "index.json").write_bytes((out / "index.json").read_bytes()[:-90])
    (out / "000000.tar").write_bytes(b"another dataset")
    before = contents(out)
    with pytest.raises(FileExistsError, match="holds 000000.tar, which"):
        build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008, overwrite=True)
    assert contents(out) == before
    (out / "000000.tar").unlink()
    build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008, overwrite=True)
    assert contents(out) == contents(shards)


@pytest.mark.parametrize("damage", ["gone", "flipped", "cut", "longer", "beginning"])
@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_a_damaged_shard_is_packed_again(
    damage: str, state: str, dataset: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if state == "finished":
        shutil.copytree(shards, out)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(ShardIndex, "write", _no_power)
            with pytest.raises(KeyboardInterrupt):
                build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008)
    path = out / "000001.tar"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "beginning":
        content[3] ^= 1
    changed = {"cut": content[:-700], "longer": content + bytes(512)}.get(damage, content)
    path.unlink() if damage == "gone" else path.write_bytes(changed)
    build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008)
    assert contents(out) == contents(shards)


def _no_power(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_source_replaced_by_one_of_the_same_size_and_time_is_seen(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, out = tmp_path / "dataset", tmp_path / "out"
    shutil.copytree(dataset, copy)
    build_shards(copy / "tasks", copy / "videos", out, max_shard_mb=0.008)
    video = copy / "videos/toy/clips/1.mp4"
    times = (video.stat().st_atime_ns, video.stat().st_mtime_ns)
    content = bytearray(video.read_bytes())
    place = content.index(b"Lavf")  # a name of the encoder: the video stays decodable
    content[place : place + 4] = b"lavf"
    video.write_bytes(content)
    os.utime(video, ns=times)
    with pytest.raises(ShardError, match=r"1 video\(s\) have changed since they were packed:\n  - toy/clips/1.mp4"):
        build_shards(copy / "tasks", copy / "videos", out, max_shard_mb=0.008)
    # An interrupted build packs the shard with the new video.
    build_shards(copy / "tasks", copy / "videos", tmp_path / "new", max_shard_mb=0.008)
    video.write_bytes((dataset / "videos/toy/clips/1.mp4").read_bytes())
    os.utime(video, ns=times)
    with monkeypatch.context() as patch:
        patch.setattr(ShardIndex, "write", _no_power)
        with pytest.raises(KeyboardInterrupt):
            build_shards(copy / "tasks", copy / "videos", tmp_path / "resumed", max_shard_mb=0.008)
    video.write_bytes(content)
    os.utime(video, ns=times)
    build_shards(copy / "tasks", copy / "videos", tmp_path / "resumed", max_shard_mb=0.008)
    assert contents(tmp_path / "resumed") == contents(tmp_path / "new")


def test_a_damaged_record_of_an_interrupted_build_is_dropped(
    dataset: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ShardIndex, "write", _no_power)
        with pytest.raises(KeyboardInterrupt):
            build_shards(dataset / "tasks", dataset / "videos", tmp_path, max_shard_mb=0.008)
    record = tmp_path / ".000000.tar.json"
    record.write_text(record.read_text().replace('"dig"', '"dog"', 1))
    with pytest.warns(UserWarning, match=r"\.000000\.tar\.json is damaged.*000000.tar is packed again"):
        build_shards(dataset / "tasks", dataset / "videos", tmp_path, max_shard_mb=0.008)
    assert contents(tmp_path) == contents(shards)


def test_a_second_build_waits_and_finds_the_work_done(
    dataset: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second thread begins while the first is at its second shard."""
    at_work, may_end = threading.Event(), threading.Event()
    pack = shards_module._pack

    def slow_pack(video: shards_module._Video, settings: shards_module._Settings) -> object:
        at_work.set()
        may_end.wait(120)
        return pack(video, settings)

    monkeypatch.setattr(shards_module, "_pack", slow_pack)
    monkeypatch.setattr("sys.stderr", told := io.StringIO())  # capfd may lose what is printed while it reads
    arguments = (dataset / "tasks", dataset / "videos", tmp_path)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(build_shards, *arguments, max_shard_mb=0.008)
        assert at_work.wait(120)
        second = pool.submit(build_shards, *arguments, max_shard_mb=0.008)
        other = pool.submit(build_shards, *arguments, max_shard_mb=1)
        while told.getvalue().count("Another build is writing") < 2:
            time.sleep(0.01)
        may_end.set()
        assert first.result() == second.result()
        with pytest.raises(FileExistsError, match="other videos or settings"):
            other.result()
    assert contents(tmp_path) == contents(shards)


def test_an_index_of_an_earlier_release_is_read_and_gets_its_checksums(
    dataset: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    document = json.loads((out / "index.json").read_text()) | {"version": 1}
    del document["seal"]
    for sample in document["samples"]:
        del sample["source_sha256"]
    (out / "index.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    with pytest.warns(UserWarning, match="of an earlier release and has no checksum"):
        index = ShardIndex.read(Storage(out))
    assert [sample.sha256 for sample in index.samples] == [
        sample.sha256 for sample in ShardIndex.read(Storage(shards)).samples
    ]
    with pytest.warns(UserWarning, match="of an earlier release"):
        build_shards(dataset / "tasks", dataset / "videos", out, max_shard_mb=0.008)
    assert contents(out) == contents(shards)


def test_an_interrupted_build_is_resumed_and_ends_with_the_same_bytes(
    dataset: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[str] = []
    pack = shards_module._pack
    power = 7  # the number of videos until the power goes

    def pack_while_there_is_power(
        video: shards_module._Video, settings: shards_module._Settings
    ) -> shards_module._Packed | str:
        if len(packed) == power:
            raise KeyboardInterrupt
        packed.append(video.name)
        return pack(video, settings)

    monkeypatch.setattr(shards_module, "_pack", pack_while_there_is_power)
    with pytest.raises(KeyboardInterrupt):
        build_shards(dataset / "tasks", dataset / "videos", tmp_path, max_shard_mb=0.008, num_workers=1)
    assert not (tmp_path / "index.json").exists()
    assert len(list(tmp_path.glob(".*.tar.json"))) >= 1
    packed.clear()
    power = 100
    build_shards(dataset / "tasks", dataset / "videos", tmp_path, max_shard_mb=0.008, num_workers=1)
    assert 0 < len(packed) < 13  # the finished shards were not packed again
    assert contents(tmp_path) == contents(shards)


@pytest.fixture
def broken(dataset: Path, tmp_path: Path) -> Path:
    """The dataset with an absent, an undecodable and a foreign video."""
    root = tmp_path / "broken"
    shutil.copytree(dataset, root)
    (root / "videos/toy/clips/1.mp4").unlink()
    (root / "videos/toy/clips/2.mp4").write_bytes(b"not a video")
    outside = tmp_path / "outside.mp4"
    (root / "videos/other/x/0.mp4").rename(outside)
    (root / "videos/other/x/0.mp4").symlink_to(outside)
    return root


def test_every_video_that_cannot_be_packed_is_named(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"2 video\(s\)") as caught:
        build_shards(broken / "tasks", broken / "videos", tmp_path / "out")
    assert "toy/clips/1.mp4: missing" in str(caught.value)
    assert "other/x/0.mp4: a link that leaves the video folder" in str(caught.value)
    shutil.copy(broken / "videos/toy/clips/3.mp4", broken / "videos/toy/clips/1.mp4")
    (broken / "videos/other/x/0.mp4").unlink()
    shutil.copy(broken / "videos/toy/clips/3.mp4", broken / "videos/other/x/0.mp4")
    with pytest.raises(ShardError, match=r"toy/clips/2.mp4: not a decodable video"):
        build_shards(broken / "tasks", broken / "videos", tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()


def test_skipped_videos_are_listed_in_the_index(broken: Path, tmp_path: Path) -> None:
    index = build_shards(broken / "tasks", broken / "videos", tmp_path / "out", missing="skip")
    assert [skipped.path for skipped in index.skipped] == ["other/x/0.mp4", "toy/clips/1.mp4", "toy/clips/2.mp4"]
    assert len(index.samples) == 10
    assert ShardIndex.read(Storage(tmp_path / "out")) == index
    verify_shards(tmp_path / "out")


def test_a_pattern_that_selects_nothing_is_an_error(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No problem set matches 'toys'; ids look like"):
        build_shards(dataset / "tasks", dataset / "videos", tmp_path, select=["toy/*", "toys"])


def test_frames_are_stored_where_asked(dataset: Path, tmp_path: Path) -> None:
    spec = FrameSpec(num_frames=5, size=16)
    index = build_shards(dataset / "tasks", dataset / "videos", tmp_path, frames=spec)
    assert ShardIndex.read(Storage(tmp_path)).frames == spec
    packed = Storage(tmp_path).read_range(index.samples[0].shard, index.samples[0].offset, index.samples[0].bytes)
    members = unpack_sample(packed)
    assert sorted(members) == ["000.jpg", "001.jpg", "002.jpg", "003.jpg", "004.jpg", "json"]
    assert json.loads(members["json"])["frame_indices"] == [0, 3, 6, 8, 11]
    verify_shards(tmp_path)


def test_stored_frames_of_an_uneven_video_are_those_that_are_wanted(tmp_path: Path) -> None:
    """A wanted moment lies midway between two frames, and the shards hold rounded times."""
    from numbered_clips import numbered_clip

    from lightning_vista.vista import LabelledVideo, ProblemSet, write_problem_sets

    problem_set = ProblemSet("toy/level_1/objects/x", {"a": "We a", "b": "We b"}, (LabelledVideo("a.mp4", ("a",)),))
    write_problem_sets([problem_set], tmp_path)
    (tmp_path / "videos/toy").mkdir(parents=True)
    times = [Fraction(place, 30) for place in (0, 2, 3, 5, 6)]
    (tmp_path / "videos/toy/a.mp4").write_bytes(numbered_clip("mp4", "libx264", 5, times=times))
    spec = FrameSpec(num_frames=4, size=16)
    delivered = []
    for name, frames in (("whole", None), ("stored", spec)):
        index = build_shards(tmp_path / "tasks", tmp_path / "videos", tmp_path / name, frames=frames)
        members = read_members(Storage(tmp_path / name), index.samples[0])
        delivered.append(decode_members(index.samples[0], members, spec).frame_indices)
    assert delivered[0] == delivered[1]
    assert set(delivered[0]) < set(range(5))


def test_verify_names_what_has_changed(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    verify_shards(out)
    samples = ShardIndex.read(Storage(out)).samples
    damaged, gone = samples[0], samples[-1]
    content = bytearray((out / damaged.shard).read_bytes())
    content[damaged.offset + damaged.bytes // 2] ^= 1
    (out / damaged.shard).write_bytes(content)
    (out / gone.shard).unlink()
    with pytest.raises(ShardError) as caught:
        verify_shards(out)
    assert f"key {damaged.key}, video {damaged.video}: its bytes have changed" in str(caught.value)
    assert f"shard {gone.shard}, key {gone.key}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "is not JSON"),
        (lambda text: text.replace('"version": 2', '"version": 99'), "expected version 2, got 99"),
        (lambda text: text.replace("000000.tar", "pipe:ls"), "expected the name of a shard, got 'pipe:ls'"),
        (lambda text: text.replace('"offset"', '"offsets"'), "is damaged"),
        (lambda text: text.replace('"seal"', '"sea"'), "its checksum"),
    ],
)
@pytest.mark.parametrize("sealed_again", [False, True])
def test_a_damaged_index_says_so(  # type: ignore[no-untyped-def]
    shards: Path,
    tmp_path: Path,
    change,  # noqa: ANN001
    message: str,
    sealed_again: bool,
) -> None:
    """What a stranger wrote may have a right checksum."""
    text = (shards / "index.json").read_text()
    changed = change(text)
    if sealed_again and (len(changed) < len(text) / 2 or '"seal"' not in changed):
        return  # then there is nothing to seal
    if sealed_again:
        changed = seal(re.sub(r"sha256:[0-9a-f]{64}", EMPTY_SEAL.removeprefix("lightning-vista-"), changed).encode())
        (tmp_path / "index.json").write_bytes(changed)
    else:
        (tmp_path / "index.json").write_text(changed)
        message = message if len(changed) < len(text) / 2 else "is damaged: its content does not match its checksum"
    with pytest.raises(ShardError, match=message):
        ShardIndex.read(Storage(tmp_path))


def test_an_unfinished_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="shards build"):
        ShardIndex.read(Storage(tmp_path))


def test_shards_are_read_from_any_address(shards: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/shards", recursive=True)
    assert verify_shards("memory://shards") == ShardIndex.read(Storage(shards))
    with pytest.raises(ValueError, match="nowhere"):
        Storage("nowhere://shards")


@pytest.mark.slow
def test_builds_killed_at_any_moment_end_in_the_same_bytes(dataset: Path, shards: Path, tmp_path: Path) -> None:
    rng, kills, longest = random.Random(0), 0, 0.1
    while kills < 25:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            while killed_after(rng.uniform(0, longest), build_small_shards, str(dataset), folder):
                kills += 1
                longest *= 1.05  # until it is enough for a build, on any machine
            assert contents(Path(folder)) == contents(shards)


@pytest.mark.slow
def test_the_official_problem_sets_are_packed_and_verified(official: Path, tmp_path: Path) -> None:
    """All 4,340 videos of the official archive, each a stand-in of its own."""
    for seed, name in enumerate(read_problem_sets(official / "tasks").memberships()):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mp4(moving_square(seed, frames=8, height=32, width=32)))
    index = build_shards(official / "tasks", tmp_path / "videos", tmp_path / "shards", max_shard_mb=2)
    assert verify_shards(tmp_path / "shards").samples == index.samples
    totals = json.loads((tmp_path / "shards" / "index.json").read_text())["totals"]
    assert (totals["problem_sets"], totals["samples"], totals["labels"]) == (492, 4340, 4515)
    assert totals["shards"] > 1


def test_videos_that_announce_no_length_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In MPEG-TS nothing tells that the end is missing."""
    from numbered_clips import numbered_clip

    from lightning_vista.cli import main
    from lightning_vista.vista import LabelledVideo, ProblemSet, write_problem_sets

    labels = {"a": "We see a", "b": "We see b"}
    videos = (LabelledVideo("whole.mp4", ("a",)), LabelledVideo("stream.ts", ("b",)))
    write_problem_sets([ProblemSet("toy/level_1/objects/x", labels, videos)], tmp_path)
    for name, container in (("whole.mp4", "mp4"), ("stream.ts", "mpegts")):
        path = tmp_path / "videos" / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbered_clip(container, "libx264", 12))
    main(["shards", "build", str(tmp_path / "tasks"), str(tmp_path / "videos"), str(tmp_path / "shards")])
    assert (
        "1 video(s) do not announce their length, so a cut would go unnoticed: toy/stream.ts" in capsys.readouterr().out
    )
    main(["shards", "verify", str(tmp_path / "shards")])
    assert "toy/stream.ts" in capsys.readouterr().out
