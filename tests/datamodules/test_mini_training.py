"""Batches of problem sets for training scorers."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lightning_vista.datamodules import MiniTrainingDataModule
from lightning_vista.datamodules.mini_training import MiniFramesDataModule
from lightning_vista.datamodules.pair_stream import SetEncoder
from lightning_vista.mini.training_groups import training_chunk
from lightning_vista.scorers.dual.losses import PairBatch
from lightning_vista.scorers.dual.pretraining import frame_file
from lightning_vista.video import FrameSpec

ORDER = ["home/permutation", "home/permutation_go_only"]
REST = ["home/objects", "home/on_v_off", "home/remix"]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_vista.mini.training_groups.CHUNK", 16)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("groups")


def data(cache: Path, **options: Any) -> MiniTrainingDataModule:
    settings: dict[str, Any] = {
        "frame_spec": FrameSpec(4, size=16),
        "cache_dir": str(cache),
        "first_chunks": 2,
        "steps_per_chunk": 1000,
        "level_every": 1,
        "sets_per_batch": 4,
        "num_workers": 0,
        "val_scale": 0.01,
        "test_scale": 0.01,
        "groups": {"order": ORDER, "rest": REST},
    }
    return MiniTrainingDataModule(**{**settings, **options})


def batches(cache: Path, count: int = 12, **options: Any) -> Iterator[PairBatch]:
    # Levels are unlocked one by one; by the eighth batch all are.
    return islice(data(cache, **options).train_dataloader(), 8, 8 + count)


def pools(cache: Path, **options: Any) -> set[str]:
    names = dict.fromkeys(ORDER, "order") | dict.fromkeys(REST, "rest") | {"": "unlabelled"}
    found = set()
    for batch in batches(cache, **options):
        (name,) = {names[kind] for kind in batch.video_types}
        assert {names[kind] for kind in batch.text_types} == {name}
        found.add(name)
    return found


def test_a_batch_has_problem_sets_of_one_group(cache: Path) -> None:
    assert pools(cache) == {"order", "rest"}


def test_unlabelled_sets_have_batches_of_their_own_and_a_filter_drops_labelled_ones_only(cache: Path) -> None:
    assert pools(cache, labelled=0.5) == {"order", "rest", "unlabelled"}
    assert pools(cache, labelled=0.0) == {"unlabelled"}
    assert pools(cache, labelled=0.5, dropped=["order"]) == {"rest", "unlabelled"}
    assert pools(cache, dropped=["order"]) == {"rest"}


def test_what_is_labelled_stays_so_with_a_larger_share(cache: Path) -> None:
    def labelled(share: float) -> set[str]:
        stream: Any = data(cache, labelled=share).train_dataloader().dataset
        store = stream._chunk(0, stream.encoder())
        return {each.group.texts[0] for each in store if each.pool in ("order", "rest")}

    few, many = labelled(0.3), labelled(0.7)
    assert few < many


def test_exchanged_steps_are_offered_for_permutation_sets_only(cache: Path) -> None:
    chunk = training_chunk(0, 4, 0, cache) + training_chunk(1, 4, 0, cache)
    known = {kind: {text for group in chunk if group.type == kind for text in group.texts} for kind in (*ORDER, *REST)}
    extra: dict[str, int] = dict.fromkeys((*ORDER, *REST), 0)
    for batch in batches(cache, count=20):
        for text, kind in zip(batch.texts, batch.text_types, strict=True):
            extra[kind] += text not in known[kind]
    assert all(extra[kind] for kind in ORDER)
    assert not any(extra[kind] for kind in REST)


def test_another_seed_of_draws_gives_other_batches_of_the_same_sets(cache: Path) -> None:
    def first(seed: int) -> tuple[str, ...]:
        return next(batches(cache, draw_seed=seed)).texts

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_a_batch_tells_the_type_of_each_frame(cache: Path) -> None:
    batch = next(batches(cache))
    assert len(batch.frame_types) == batch.frames.shape[0] * batch.frames.shape[1]
    assert batch.frame_types[:: batch.frames.shape[1]] == batch.video_types


def test_the_craft_world_has_frames_and_steps_of_its_own(cache: Path) -> None:
    groups = {"craft": ["craft/remix", "craft/permutation", "craft/permutation_go_only"], "rest": REST}
    module = data(cache, worlds=["home", "craft"], groups=groups, first_chunks=1, sets_per_batch=2)
    found = {kind for batch in islice(module.train_dataloader(), 16) for kind in batch.video_types}
    assert any(kind.startswith("craft/") for kind in found)
    assert any(kind.startswith("home/") for kind in found)
    (group, *_) = training_chunk(0, 4, 0, cache, "craft")
    assert group.codes.shape[1:] == (4, 108, 108, 3)
    assert set(np.unique(group.steps)) <= set(range(-1, group.level))
    tested = {kind for batch in module.test_dataloader() for kind in batch.text_types}
    assert {"home/objects", "craft/remix", "craft/permutation_go_only"} <= tested


def test_sets_for_an_attack_are_new_and_come_in_parts(cache: Path) -> None:
    module = data(cache)
    parts = module.sample_sets(ORDER, 5, seed=0, size=3)
    assert [len(part.text_groups.unique()) for part in parts] == [3, 2]
    assert {kind for part in parts for kind in part.text_types} <= set(ORDER)
    again = module.sample_sets(ORDER, 5, seed=0, size=3)
    assert [part.texts for part in again] == [part.texts for part in parts]
    assert torch.equal(again[0].frames, parts[0].frames)
    seen = {text for number in range(2) for group in training_chunk(number, 4, 0, cache) for text in group.texts}
    assert not {text for part in parts for text in part.texts} & seen


@pytest.mark.parametrize(
    ("types", "options", "message"),
    [
        (["home/permutatoin"], {}, "`types`: expected one of .*'home/permutation'.*, got 'home/permutatoin'"),
        (["home/remix", "craft/remix"], {}, "`types`: expected one of .*'home/remix'.*, got 'craft/remix'"),
        (["hme/remix"], {}, "`types`: expected one of .*'craft/remix'.*, got 'hme/remix'"),
        (["home/remix"], {"max_level": 1}, "`types`: expected one of .*'home/objects'.*, got 'home/remix'"),
    ],
)
def test_types_that_an_attack_would_never_find_are_refused(
    cache: Path, types: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        data(cache, **options).sample_sets(types, 2, seed=0, size=2)


def test_features_are_kept_for_what_was_encoded(cache: Path, tmp_path: Path) -> None:
    weights = frame_file("shipped")
    first, second = (training_chunk(number, 4, 0, cache)[:1] for number in range(2))

    def features(size: int, groups: Any) -> torch.Tensor:
        return SetEncoder(FrameSpec(4, size=size), weights, str(tmp_path)).encode_all(groups, "home-0-00000")[0]

    made = [features(96, first), features(64, first), features(96, second)]
    assert not torch.equal(made[0], made[1])
    assert torch.equal(made[2], SetEncoder(FrameSpec(4, size=96), weights).encode(second[0]))
    assert torch.equal(features(96, first), made[0])


@pytest.mark.parametrize("kind", [MiniFramesDataModule, MiniTrainingDataModule])
def test_endless_data_are_for_one_process(kind: Any) -> None:
    module = kind()
    module.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match=f"expected one process for {kind.__name__}, got 2. Set trainer.devices=1"):
        module.setup("fit")


def test_a_resumed_stream_counts_batches(cache: Path) -> None:
    module: Any = data(cache)
    module.trainer = SimpleNamespace(global_step=3, accumulate_grad_batches=4)
    assert module.train_dataloader().dataset.start == 12


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="`dropped`: expected names of `groups`, \\['a'\\], got \\['b'\\]\\."):
        MiniTrainingDataModule(groups={"a": ["home/objects"]}, dropped=["b"])
    with pytest.raises(ValueError, match="`labelled`: expected a share from 0 to 1, got 2"):
        MiniTrainingDataModule(labelled=2)
    with pytest.raises(ValueError, match="`worlds`: expected one of 'home', 'craft', got 'farm'"):
        MiniTrainingDataModule(worlds=["farm"])
