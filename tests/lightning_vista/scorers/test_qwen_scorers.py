"""Qwen3-VL-Embedding and Qwen3-VL-Reranker against transformers' own model, on prompts that are written out here."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_checkpoints import save_clip, transformers
from tiny_video_models import save_qwen3_vl
from torch import Tensor

from lightning_vista.scorers import QwenEmbeddingScorer, QwenRerankerScorer

TEXTS = ["We see a ball", "We see a cup and then a ball", "a"]
TIMES = [[0.0, 0.5, 1.0, 1.5], [0.0, 2.0, 4.0, 6.0]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_qwen3_vl(tmp_path_factory.mktemp("qwen") / "tiny-qwen")


def videos() -> Tensor:
    return torch.randint(0, 256, (2, 4, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class Oracle:
    def __init__(self, checkpoint: str) -> None:
        self.model: Any = transformers.Qwen3VLForConditionalGeneration.from_pretrained(checkpoint).eval()
        self.processor: Any = transformers.AutoProcessor.from_pretrained(checkpoint)

    def run(self, prompt: str, frames: Tensor | None = None, times: list[float] | None = None) -> Any:
        """The model's output for one prompt, with hidden states."""
        inputs: dict[str, Any] = {"text": [prompt], "return_tensors": "pt"}
        if frames is not None and times is None:
            inputs["images"] = [[Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]]
        elif frames is not None and times is not None:
            rate = 1 / (times[1] - times[0])
            metadata = {"total_num_frames": 4, "fps": rate, "duration": 4 / rate, "frames_indices": [0, 1, 2, 3]}
            inputs |= {"videos": [frames], "do_sample_frames": False, "video_metadata": [metadata]}
        with torch.no_grad():
            return self.model(**self.processor(**inputs), output_hidden_states=True)


def embedding_prompt(content: str) -> str:
    system = "<|im_start|>system\nRepresent the user's input.<|im_end|>\n"
    return f"{system}<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


@pytest.mark.parametrize("text_batch_size", [1, 3])
def test_descriptions_are_embedded_as_published(checkpoint: str, text_batch_size: int) -> None:
    oracle, rows = Oracle(checkpoint), []
    for text in TEXTS:
        state = oracle.run(embedding_prompt(text)).hidden_states[-1][0, -1]
        rows.append(state / state.norm())
    found = QwenEmbeddingScorer(checkpoint, text_batch_size=text_batch_size).embed_texts(TEXTS)
    torch.testing.assert_close(found, torch.stack(rows), rtol=0, atol=1e-5)
    assert (found[0] - found[1]).norm() > 0.01


@pytest.mark.parametrize("cached", [False, True])
def test_videos_are_embedded_with_their_times(checkpoint: str, cached: bool, tmp_path: Path) -> None:
    oracle = Oracle(checkpoint)
    scorer = QwenEmbeddingScorer(checkpoint, num_frames=4, size=64, cache_dir=str(tmp_path) if cached else None)
    texts = scorer.embed_texts(TEXTS)
    same = videos()[:1].expand(2, -1, -1, -1, -1)  # only the times differ
    expected = []
    for frames, times in zip(same, TIMES, strict=True):
        state = oracle.run(embedding_prompt(VIDEO), frames, times).hidden_states[-1][0, -1]
        expected.append(texts @ (state / state.norm()))
    for _ in range(2):
        found = torch.stack([row.values for row in scorer.score_clips(same, TEXTS, TIMES)]).float()
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_frames_without_times_are_images(checkpoint: str) -> None:
    scorer = QwenEmbeddingScorer(checkpoint, num_frames=4, size=64)
    frames = videos()[:1]
    images = "<|vision_start|><|image_pad|><|vision_end|>" * 4
    state = Oracle(checkpoint).run(embedding_prompt(images), frames[0]).hidden_states[-1][0, -1]
    torch.testing.assert_close(scorer.embed_videos(frames)[0], state / state.norm(), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="`times`: expected the times of the frames"):
        QwenEmbeddingScorer(checkpoint, num_frames=4, size=64, frames_as="video").embed_videos(frames)


def test_the_instruction_counts(checkpoint: str) -> None:
    usual = QwenEmbeddingScorer(checkpoint).embed_texts(TEXTS)
    other = QwenEmbeddingScorer(checkpoint, text_instruction="Retrieve videos.").embed_texts(TEXTS)
    assert (usual - other).norm(dim=-1).min() > 1e-3


def reranker_prompt(description: str, instruction: str) -> str:
    system = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    )
    asked = f"<|im_start|>user\n<Instruct>: {instruction}<Query>:{VIDEO}\n<Document>:{description}<|im_end|>\n"
    return f"{system}{asked}<|im_start|>assistant\n"


def answer_log_probability(oracle: Oracle, prompt: str, answer: str, frames: Tensor, times: list[float]) -> Tensor:
    """The sum over the answer's tokens, of which the tiny tokenizer makes several."""
    tokens = oracle.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    logits = oracle.run(prompt + answer, frames, times).logits[0, -len(tokens) - 1 : -1]
    total: Tensor = logits.log_softmax(-1)[range(len(tokens)), tokens].sum()
    return total


@pytest.mark.parametrize(
    "instruction", ["Given a search query, retrieve relevant candidates that answer the query.", 'It\'s "so": {judge}']
)
def test_the_reranker_gives_the_log_odds_of_yes(checkpoint: str, instruction: str) -> None:
    oracle = Oracle(checkpoint)
    scorer = QwenRerankerScorer(checkpoint, instruction=instruction, num_frames=4, size=64)
    found = torch.stack([row.values for row in scorer.score_clips(videos(), TEXTS, TIMES)])
    for frames, times, row in zip(videos(), TIMES, found, strict=True):
        for text, value in zip(TEXTS, row, strict=True):
            prompt = reranker_prompt(text, instruction)
            yes, no = (answer_log_probability(oracle, prompt, word, frames, times) for word in ("yes", "no"))
            assert value == pytest.approx(float(yes - no), abs=1e-4)
    assert found.std() > 1e-3


@pytest.mark.parametrize("impossible", ["yes", "no"])
def test_an_infinite_log_probability_is_unscored(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, impossible: str
) -> None:
    scorer = QwenRerankerScorer(checkpoint, num_frames=4, size=64)
    monkeypatch.setattr(
        scorer,
        "_log_probabilities",
        lambda frames, clock, queries: {
            query: -torch.inf if number < 2 and query[1] == impossible else -1.0 for number, query in enumerate(queries)
        },
    )
    (scores,) = scorer.score_clips(videos()[:1], TEXTS, TIMES[:1])
    assert scores.values.isnan().tolist() == [True, False, False]
    assert scores.reason == "not_finite"


def test_another_model_is_refused(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip")
    with pytest.raises(ValueError, match="expected model_type 'qwen3_vl', got .* of 'clip'"):
        QwenEmbeddingScorer(clip)
    with pytest.raises(ValueError, match="expected an image-text model"):
        QwenRerankerScorer(clip)
    with pytest.raises(FileNotFoundError, match="Expected the id of a Qwen3-VL-Embedding"):
        QwenEmbeddingScorer(str(tmp_path / "nothing"))
    for word in ("dtype", "frames_as"):
        with pytest.raises(ValueError, match=f"`{word}`: expected one of"):
            QwenEmbeddingScorer("nowhere", **{word: "lost"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`text_batch_size`: expected at least 1"):
        QwenEmbeddingScorer("nowhere", text_batch_size=0)
