from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import lightning as L
import pytest
import torch

from lightning_vista.callbacks import Evaluation
from lightning_vista.datamodules import MiniTrainingDataModule, ViSTaDataModule
from lightning_vista.scorers import DualEncoderScorer
from lightning_vista.scorers.dual.heads import Head
from lightning_vista.vista.batch import Candidates, Question, VideoBatch
from lightning_vista.vista.tables import read_scores

HEADS = get_args(Head)
TEXT = "first we go to the red blue door and then see a ball cup key b dig jump eat"
WORDS = TEXT.split()


def scorer(head: Head = "temporal", vocabulary: Sequence[str] = WORDS, **kwargs: object) -> DualEncoderScorer:
    torch.manual_seed(0)
    return DualEncoderScorer(head, vocabulary=vocabulary, size=32, num_frames=4, **kwargs).eval()  # type: ignore[arg-type]


def batch(*descriptions: str) -> VideoBatch:
    labels = tuple(str(number) for number in range(len(descriptions)))
    frames = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    questions = tuple(Question(video, (Candidates("a/b/c/d", labels, descriptions),), None) for video in "xy")
    return VideoBatch(frames, ((0, 1, 2, 3),) * 2, questions)


def tiny_data(**kwargs: object) -> MiniTrainingDataModule:
    arguments = {"sets_per_batch": 2, "first_chunks": 1, "num_workers": 0, "val_scale": 0.01, **kwargs}
    return MiniTrainingDataModule(**arguments)  # type: ignore[arg-type]


def tiny_trainer() -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_steps=2,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


@pytest.mark.parametrize("head", HEADS)
def test_scores_are_cosines_of_videos_and_descriptions(head: Head) -> None:
    model = scorer(head)
    model.setup("predict")
    texts = ("we see a ball", "First, we go to the red door, then we go to the blue door, and then we see a key")
    with torch.no_grad():
        (scores,), (_,) = model.score(batch(*texts))
        videos = model.embed_videos(batch().frames)
    assert scores.reason is None
    assert scores.values.abs().max() <= 1 + 1e-6
    width = 1024 if head == "slot" else 256
    assert videos.shape == (2, width)


def test_the_mean_head_does_not_see_order_and_the_others_do() -> None:
    frames = batch("we see a ball").frames
    for head in HEADS:
        model = scorer(head)
        with torch.no_grad():
            forwards, backwards = model.embed_videos(frames), model.embed_videos(frames.flip(1))
        assert torch.allclose(forwards, backwards, atol=1e-5) == (head == "mean"), head


@pytest.mark.parametrize("head", HEADS)
def test_what_other_descriptions_are_asked_does_not_change_an_embedding(head: Head) -> None:
    model = scorer(head)
    text = "First, we go to the red door, and then we see a ball"
    longer = "First, we go to the red door, then we go to the blue door, then we see a key, and then we see a cup"
    with torch.no_grad():
        assert torch.allclose(model.embed_texts([text])[0], model.embed_texts([longer, text])[1], atol=1e-5)


def test_unknown_words_are_unscored_and_reported() -> None:
    model = scorer()
    model.setup("predict")
    with torch.no_grad():
        (scores,), _ = model.score(batch("we see a ball", "we see a zebra", "we fry a ball", "we see a key"))
    assert scores.values.isnan().tolist() == [False, True, True, False]
    assert scores.reason == "unknown_words"
    with pytest.warns(UserWarning, match=r"does not know the words fry, zebra: 2 of 4 descriptions \(50%\)"):
        model.teardown("predict")


def test_unknown_words_can_be_allowed() -> None:
    model = scorer(allow_unknown=True)
    model.setup("predict")
    with torch.no_grad():
        (scores,), _ = model.score(batch("we see a ball", "we see a big ball", "zebra"))
    assert not scores.values.isnan().any()
    with pytest.warns(UserWarning, match="were scored without them"):
        model.teardown("predict")


@pytest.mark.parametrize("head", HEADS)
def test_descriptions_of_more_than_eight_steps_are_unscored(head: Head) -> None:
    model = scorer(head)
    model.setup("predict")
    with torch.no_grad():
        (scores,), _ = model.score(batch("we see a ball", ", ".join(["we see a ball"] * 9)))
    assert scores.values.isnan().tolist() == [False, True]
    assert scores.reason == "too_many_steps"


def test_the_evaluation_loop_writes_unscored_pairs_with_their_reason(shards: Path, tmp_path: Path) -> None:
    model = scorer(vocabulary=[word for word in WORDS if word != "cup"])
    run = Evaluation(str(tmp_path / "run"))
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[run])
    with pytest.warns(UserWarning, match="does not know the words cup: 1 of 8 descriptions"):
        trainer.test(model, ViSTaDataModule(str(shards), model.frame_spec, num_workers=0), verbose=False)
    rows = read_scores(tmp_path / "run").rows
    unscored = rows.filter(rows["reason"] == "unknown_words")
    assert set(unscored["problem_set"]) == {"toy/foundation/objects/shapes"}


@pytest.mark.parametrize("head", HEADS)
def test_training_writes_weights_that_score_the_same(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = DualEncoderScorer(head, size=32, num_frames=4, out=str(path))
    trainer = tiny_trainer()
    trainer.fit(model, tiny_data(frame_spec=model.frame_spec))
    assert trainer.callback_metrics["val/macro_f1"] >= 0
    loaded = DualEncoderScorer(head, weights=str(path)).eval()
    with torch.no_grad():
        frames = batch("we see a ball").frames
        difference = model.eval().embed_videos(frames) - loaded.embed_videos(frames)
    assert loaded.vocabulary == model.vocabulary
    assert difference.abs().max() < 0.02  # half precision
    with pytest.raises(ValueError, match=f"`head`: expected '{head}', the head in"):
        DualEncoderScorer("slot" if head != "slot" else "mean", weights=str(path))


def test_a_tower_of_timm_trains(tmp_path: Path) -> None:
    model = DualEncoderScorer("mean", tower="vit_tiny_patch16_224", size=32, num_frames=2)
    before = next(model.frames.tower.parameters()).clone()
    trainer = tiny_trainer()
    trainer.fit(model, tiny_data(frame_spec=model.frame_spec))
    assert not torch.equal(before, next(model.frames.tower.parameters()))
    with pytest.raises(ValueError, match="expected 'small-cnn' or a model of timm, got 'vit_none'\\."):
        DualEncoderScorer(tower="vit_none", vocabulary=WORDS)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # it is to be resumed
def test_training_resumes_where_it_stopped(tmp_path: Path) -> None:
    def fit(max_steps: int, checkpoint: str | None) -> L.Trainer:
        torch.manual_seed(0)
        model = DualEncoderScorer("mean", size=32, num_frames=2, vocabulary=None)
        saving = L.pytorch.callbacks.ModelCheckpoint(tmp_path, "last", every_n_train_steps=2)
        trainer = L.Trainer(
            accelerator="cpu", max_steps=max_steps, logger=False, enable_progress_bar=False, callbacks=[saving]
        )
        trainer.fit(model, tiny_data(frame_spec=model.frame_spec), ckpt_path=checkpoint)
        return trainer

    fit(2, None)
    assert fit(4, str(tmp_path / "last.ckpt")).global_step == 4
