from pathlib import Path

import pytest

from lightning_vista.datamodules import ViSTaDataModule
from lightning_vista.video import FrameSpec


def selected(shards: Path, **filters: object) -> set[str]:
    datamodule = ViSTaDataModule(str(shards), num_workers=0, **filters)  # type: ignore[arg-type]
    datamodule.setup("test")
    return {problem_set.id for problem_set in datamodule.index().problem_sets}


def test_problem_sets_are_chosen_by_pattern_kind_and_level(shards: Path) -> None:
    assert len(selected(shards)) == 3
    assert selected(shards, problem_sets=["other/*"]) == {"other/foundation/multilabel"}
    assert selected(shards, kinds=["objects", "permutation"], levels=[2]) == {"toy/level_2/permutation/order"}


def test_only_videos_of_chosen_problem_sets_are_read_and_asked_only_about_these(shards: Path) -> None:
    datamodule = ViSTaDataModule(str(shards), FrameSpec(num_frames=2, size=16), levels=[2], num_workers=0)
    datamodule.setup("test")
    (batch,) = datamodule.test_dataloader()
    assert batch.videos == ("toy/clips/9.mp4", "toy/clips/shared v1.0.mp4")
    assert {candidates.problem_set for sets in batch.candidates for candidates in sets} == {
        "toy/level_2/permutation/order"
    }


def test_training_and_validation_have_folders_of_their_own(shards: Path) -> None:
    spec = FrameSpec(num_frames=2, size=16)
    datamodule = ViSTaDataModule(
        frame_spec=spec, train_shards=str(shards), val_shards=str(shards), num_workers=0, batch_size=4
    )
    datamodule.setup("fit")
    trained = [video for batch in datamodule.train_dataloader() for video in batch.videos]
    validated = [video for batch in datamodule.val_dataloader() for video in batch.videos]
    assert sorted(trained) == validated
    assert (len(datamodule.train_dataloader()), len(datamodule.val_dataloader())) == (4, 4)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"problem_sets": ["toy/*", "nothing/*"]}, "No problem set matches 'nothing/"),
        ({"kinds": ["object"]}, "`kinds`: expected one of 'objects', .* got 'object'. Did you mean 'objects'?"),
        ({"on_error": "skip"}, "`on_error`: expected one of 'raise', 'unscored', got 'skip'"),
        ({"kinds": ["objects"], "levels": [2]}, "None of the 3 problem sets passes"),
    ],
)
def test_a_filter_that_selects_nothing_is_an_error(shards: Path, filters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selected(shards, **filters)


def test_what_is_missing_is_named(shards: Path) -> None:
    with pytest.raises(ValueError, match="`shards`: expected"):
        ViSTaDataModule().setup("test")
    with pytest.raises(ValueError, match="`train_shards`: expected"):
        ViSTaDataModule(str(shards)).setup("fit")
    with pytest.raises(ValueError, match="expected a split that `setup` has read"):
        ViSTaDataModule(str(shards)).index()
    datamodule = ViSTaDataModule(str(shards), batch_size=0, num_workers=0)
    datamodule.setup("test")
    with pytest.raises(ValueError, match="`batch_size`: expected at least 1"):
        datamodule.test_dataloader()
