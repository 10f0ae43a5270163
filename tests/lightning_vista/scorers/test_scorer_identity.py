"""Whatever changes a scorer's scores changes its identity, and with it the embedding cache."""

import importlib
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_chat_model import save_llava
from tiny_checkpoints import save_clip, save_open_clip, save_siglip, save_viclip, siglip_tokenizer
from tiny_encoders import WORDS, save_s3d, save_xclip
from tiny_video_models import save_qwen3_vl

from lightning_vista.evaluation.identity import identity
from lightning_vista.scorers import (
    ChatScorer,
    CLIPScorer,
    DualEncoderScorer,
    EmbeddingScorer,
    LikelihoodScorer,
    LocalChatScorer,
    OpenCLIPScorer,
    QwenEmbeddingScorer,
    QwenRerankerScorer,
    RandomScorer,
    S3DScorer,
    ViCLIPScorer,
    VLMScorer,
    XCLIPScorer,
)
from lightning_vista.scorers.chat import conversation
from lightning_vista.scorers.dual.pretraining import SHIPPED

Patch = pytest.MonkeyPatch
Change = Callable[[Path, Patch], object]


def edit(path: str, **changes: Any) -> Change:
    """Change values of a JSON file; `a__b` is key b of a."""

    def change(folder: Path, patch: Patch) -> None:
        content = json.loads((folder / path).read_text())
        for key, value in changes.items():
            *outer, last = key.split("__")
            inner = content
            for each in outer:
                inner = inner[each]
            assert inner.get(last) != value
            inner[last] = value
        (folder / path).write_text(json.dumps(content))

    return change


def scale_weights(folder: Path, patch: Patch) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(name for name, value in state.items() if value.ndim > 1)
    save_file(state | {name: state[name] * 2}, folder / "model.safetensors", metadata={"format": "pt"})


def scale_embeddings(folder: Path, patch: Patch) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if "embed_tokens" in name)
    save_file(state | {name: state[name] * 2}, folder / "model.safetensors", metadata={"format": "pt"})


def scale_pickled(file: str) -> Change:
    def change(folder: Path, patch: Patch) -> None:
        content = torch.load(folder / file, weights_only=True)
        state = content.get("model", content)
        name = next(name for name, value in state.items() if value.ndim > 1)
        state[name] = state[name] * 2
        torch.save(content, folder / file)

    return change


def other_version(name: str) -> Change:
    return lambda folder, patch: patch.setattr(importlib.import_module(name), "__version__", "0")


def other_distribution(name: str) -> Change:
    def change(folder: Path, patch: Patch) -> None:
        version = metadata.version
        patch.setattr(metadata, "version", lambda asked: "0" if asked == name else version(asked))

    return change


def other_prompts(folder: Path, patch: Patch) -> None:
    shutil.copytree(conversation.PROMPTS, folder / "prompts")
    (folder / "prompts" / "again.txt").write_text("Again!")
    patch.setattr(conversation, "PROMPTS", folder / "prompts")


def swap_words(folder: Path, patch: Patch) -> None:
    path = folder / "temporal.safetensors"
    with safe_open(path, framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
    words = settings["vocabulary"]
    settings["vocabulary"] = [words[1], words[0], *words[2:]]
    save_file(load_file(path), path, metadata={"settings": json.dumps(settings)})


def swap_tokens(folder: Path, patch: Patch) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(content))


def dual_files(folder: Path) -> None:
    for name in ("temporal", "frames"):
        shutil.copy(SHIPPED / f"{name}.safetensors", folder)


def dual_scorer(folder: Path) -> DualEncoderScorer:
    weights, frames = (str(folder / f"{name}.safetensors") for name in ("temporal", "frames"))
    return DualEncoderScorer("temporal", weights=weights, frame_weights=frames)


def clip(folder: Path) -> CLIPScorer:
    return CLIPScorer(str(folder), num_frames=2, preprocessing="processor")


def open_clip_scorer(folder: Path) -> OpenCLIPScorer:
    return OpenCLIPScorer(f"local-dir:{folder}", num_frames=2, preprocessing="processor")


def local(folder: Path) -> LocalChatScorer:
    return LocalChatScorer(str(folder), num_frames=2, size=16, max_tokens=2)


def likelihood(**settings: Any) -> Callable[[Path], LikelihoodScorer]:
    chosen = {"num_frames": 2, "size": 16} | settings
    return lambda folder: LikelihoodScorer(str(folder), **chosen)


def viclip(folder: Path) -> ViCLIPScorer:
    return ViCLIPScorer(str(folder / "ViCLIP-tiny.pth"))


def chat(**settings: Any) -> Callable[[Path], ChatScorer]:
    return lambda folder: ChatScorer("m", "http://localhost/v1", **settings)


def instead(scorer: Callable[[Path], VLMScorer]) -> Change:
    """Another scorer in place of the first."""
    return lambda folder, patch: scorer(folder)


def s3d(**settings: Any) -> Callable[[Path], S3DScorer]:
    chosen = {"num_frames": 8, "size": 32} | settings
    return lambda folder: S3DScorer(str(folder / "s3d_tiny.pth"), str(folder / "s3d_dict.npy"), **chosen)


def qwen_embedding(**settings: Any) -> Callable[[Path], QwenEmbeddingScorer]:
    chosen = {"num_frames": 2, "size": 64} | settings
    return lambda folder: QwenEmbeddingScorer(str(folder), **chosen)


def qwen_reranker(**settings: Any) -> Callable[[Path], QwenRerankerScorer]:
    chosen = {"num_frames": 2, "size": 64} | settings
    return lambda folder: QwenRerankerScorer(str(folder), **chosen)


OPEN_CONFIG = "open_clip_config.json"
#: Scorer -> how its files are written, how it is made, and what changes scores.
CASES: dict[str, tuple[Callable[[Path], object], Callable[[Path], VLMScorer], dict[str, Change]]] = {
    "random": (
        lambda folder: None,
        lambda folder: RandomScorer(),
        {"seed": instead(lambda folder: RandomScorer(seed=1)), "decoder": other_version("av")},
    ),
    "clip": (
        save_clip,
        clip,
        {
            "weights": scale_weights,
            "activation": edit("config.json", vision_config__hidden_act="gelu"),
            "heads": edit("config.json", text_config__num_attention_heads=4),
            "norm": edit("config.json", vision_config__layer_norm_eps=0.1),
            "mean": edit("preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
            "deviation": edit("preprocessor_config.json", image_std=[0.1, 0.2, 0.3]),
            "interpolation": edit("preprocessor_config.json", resample=2),
            "crop": edit("preprocessor_config.json", size={"height": 32, "width": 32}),
            "tokens": swap_tokens,
            "transformers": other_version("transformers"),
            "tokenizers": other_distribution("tokenizers"),
            "frames": instead(lambda folder: CLIPScorer(str(folder), num_frames=3, preprocessing="processor")),
            "preprocessing": instead(lambda folder: CLIPScorer(str(folder), num_frames=2)),
            "dtype": instead(lambda folder: CLIPScorer(str(folder), "bfloat16", 2, preprocessing="processor")),
        },
    ),
    "siglip": (
        lambda folder: save_siglip(folder, siglip_tokenizer()),
        clip,
        {"weights": scale_weights, "tokens": swap_tokens, "mean": edit("preprocessor_config.json", image_mean=[0] * 3)},
    ),
    "open_clip": (
        save_open_clip,
        open_clip_scorer,
        {
            "weights": scale_pickled("open_clip_pytorch_model.bin"),
            "activation": edit(OPEN_CONFIG, model_cfg__quick_gelu=True),
            "heads": edit(OPEN_CONFIG, model_cfg__text_cfg__heads=4),
            "mean": edit(OPEN_CONFIG, preprocess_cfg__mean=[0.1, 0.2, 0.3]),
            "deviation": edit(OPEN_CONFIG, preprocess_cfg__std=[0.1, 0.2, 0.3]),
            "interpolation": edit(OPEN_CONFIG, preprocess_cfg__interpolation="bilinear"),
            "crop": edit(OPEN_CONFIG, preprocess_cfg__resize_mode="squash"),
            "cleaning": edit(OPEN_CONFIG, model_cfg__text_cfg__tokenizer_kwargs={"clean": "canonicalize"}),
            "open_clip": other_version("open_clip"),
        },
    ),
    "viclip": (
        save_viclip,
        viclip,
        {
            "weights": scale_pickled("ViCLIP-tiny.pth"),
            "open_clip": other_version("open_clip"),
            "frames": instead(lambda folder: ViCLIPScorer(str(folder / "ViCLIP-tiny.pth"), num_frames=1)),
            "mean": lambda folder, patch: patch.setattr(
                "lightning_vista.scorers.viclip.STATISTICS", {"imagenet": ((0.1,) * 3, (0.2,) * 3)}
            ),
            "tokens": lambda folder, patch: patch.setattr(
                "open_clip.SimpleTokenizer",
                lambda context_length: importlib.import_module("open_clip").tokenizer.SimpleTokenizer(
                    context_length=context_length, clean="canonicalize"
                ),
            ),
        },
    ),
    "s3d": (
        save_s3d,
        s3d(),
        {
            "weights": scale_pickled("s3d_tiny.pth"),
            "words": lambda folder, patch: np.save(folder / "s3d_dict.npy", np.array(WORDS[::-1])),
            "frames": instead(s3d(num_frames=16)),
            "size": instead(s3d(size=64)),
        },
    ),
    "xclip": (
        save_xclip,
        lambda folder: XCLIPScorer(str(folder)),
        {
            "weights": scale_weights,
            "prompts": edit("config.json", prompt_num_attention_heads=4),
            "tokens": swap_tokens,
            "transformers": other_version("transformers"),
        },
    ),
    "qwen_embedding": (
        save_qwen3_vl,
        qwen_embedding(),
        {
            "weights": scale_embeddings,  # the first matrix is the head, which this scorer does not read
            "template": lambda folder, patch: (folder / "chat_template.jinja").write_text(
                (folder / "chat_template.jinja").read_text().replace("assistant\n", "assistant: ")
            ),
            "instruction": instead(qwen_embedding(text_instruction="Retrieve videos.")),
            "form": instead(qwen_embedding(frames_as="images")),
        },
    ),
    "qwen_reranker": (
        save_qwen3_vl,
        qwen_reranker(),
        {"weights": scale_weights, "instruction": instead(qwen_reranker(instruction="Judge."))},
    ),
    "dual": (
        dual_files,
        dual_scorer,
        {
            "words": swap_words,
            "unknown": instead(
                lambda folder: DualEncoderScorer(
                    "temporal",
                    str(folder / "temporal.safetensors"),
                    str(folder / "frames.safetensors"),
                    allow_unknown=True,
                )
            ),
        },
    ),
    "local_chat": (
        save_llava,
        local,
        {
            "weights": scale_weights,
            "mean": edit("processor_config.json", image_processor__image_mean=[0.1, 0.2, 0.3]),
            "template": lambda folder, patch: (folder / "chat_template.jinja").write_text(
                (folder / "chat_template.jinja").read_text().replace("<assistant>{% endif", "<assistant> {% endif")
            ),
            "tokens": swap_tokens,
            "generation": edit("generation_config.json", repetition_penalty=1.5),
            "attention": edit("config.json", text_config__rms_norm_eps=0.1),
            "prompts": other_prompts,
            "temperature": instead(
                lambda folder: LocalChatScorer(str(folder), num_frames=2, size=16, max_tokens=2, temperature=1.0)
            ),
            "pillow": other_version("PIL"),
            "transformers": other_version("transformers"),
        },
    ),
    "likelihood": (
        save_llava,
        likelihood(),
        {
            "weights": scale_weights,
            "mean": edit("processor_config.json", image_processor__image_mean=[0.1, 0.2, 0.3]),
            "tokens": swap_tokens,
            "prompts": other_prompts,
            "transformers": other_version("transformers"),
            **{
                key: instead(likelihood(**{key: value}))
                for key, value in {
                    "question": "choice",
                    "answer": "True",
                    "subtract_prior": True,
                    "normalise": True,
                    "num_frames": 3,
                    "frames_as": "images",
                }.items()
            },
        },
    ),
    "chat": (
        lambda folder: None,
        chat(),
        {
            "prompts": other_prompts,
            "pillow": other_version("PIL"),
            "endpoint": instead(lambda folder: ChatScorer("m", "http://other/v1")),
            "likelihood": instead(chat(mode="likelihood", answer="True")),
            "model": instead(lambda folder: ChatScorer("n", "http://localhost/v1", name="m")),
            "provider": instead(lambda folder: ChatScorer("m", "http://localhost/v1", provider="gemini")),
            **{
                key: instead(chat(**{key: value}))
                for key, value in {
                    "mode": "single",
                    "frames_as": "video",
                    "num_frames": 3,
                    "sampling": "stride",
                    "size": 16,
                    "detail": "low",
                    "jpeg_quality": 50,
                    "json_schema": False,
                    "temperature": 0.1,
                    "seed": 3,
                    "max_tokens": 7,
                    "parameters": {"top_p": 0.5},
                    "repeat": 1,
                }.items()
            },
        },
    ),
}


@pytest.mark.parametrize(
    ("kind", "changed"), [(kind, name) for kind, (_, _, changes) in CASES.items() for name in changes]
)
def test_one_change_gives_another_identity(kind: str, changed: str, tmp_path: Path, monkeypatch: Patch) -> None:
    write, make, changes = CASES[kind]
    write(tmp_path)
    before = identity(make(tmp_path))
    assert identity(make(tmp_path)) == before
    other = changes[changed](tmp_path, monkeypatch)
    scorer = other if isinstance(other, VLMScorer) else make(tmp_path)
    assert identity(scorer) != before


def test_settings_that_change_speed_alone_do_not_count(tmp_path: Path) -> None:
    save_llava(tmp_path)
    assert identity(likelihood(candidate_batch_size=1)(tmp_path)) == identity(likelihood()(tmp_path))


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind not in ("random", "chat")])
def test_use_does_not_change_the_identity(kind: str, tmp_path: Path) -> None:
    write, make, _ = CASES[kind]
    write(tmp_path)
    scorer = make(tmp_path)
    before = identity(scorer)
    size = scorer.frame_spec.height_width
    assert size is not None
    frames = torch.zeros(1, scorer.frame_spec.num_frames, 3, *size, dtype=torch.uint8)
    scorer.score_clips(frames, ["We open the box", "We go to the box"])
    assert identity(scorer) == before


def test_a_network_of_its_own_is_hashed_without_a_fingerprint() -> None:
    class Own(RandomScorer):
        def __init__(self, heads: int = 2) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.attention = torch.nn.MultiheadAttention(4, heads)
            self.table = torch.nn.Buffer(torch.ones(2), persistent=False)

    before = identity(Own())
    assert identity(Own()) == before
    other = Own()
    other.attention.out_proj.weight.data.mul_(2)
    table = Own()
    table.table.mul_(2)
    assert len({before, identity(Own(heads=4)), identity(other), identity(table)}) == 4


@pytest.mark.parametrize("changed", ["activation", "mean", "tokens", "transformers"])
def test_the_embedding_cache_sees_it_too(changed: str, tmp_path: Path, monkeypatch: Patch) -> None:
    model = tmp_path / "model"
    save_clip(model)
    frames = torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8)
    for number in (1, 2):
        scorer = clip(model)
        scorer.cache_dir = str(tmp_path / "cache")
        assert isinstance(scorer, EmbeddingScorer)
        scorer.score_clips(frames, ["We see a", "We see b"])
        assert len(list((tmp_path / "cache").iterdir())) == number
        if number == 1:
            CASES["clip"][2][changed](model, monkeypatch)
