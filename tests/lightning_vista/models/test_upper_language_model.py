"""Training on kept hidden states is training of the whole model with frozen lower layers."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.models import HiddenStates, LanguageModelModule, UpperLanguageModelModule
from lightning_vista.models.offline_checkpoint import write_offline_checkpoint
from lightning_vista.text import Row


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("offline") / "tiny"
    write_offline_checkpoint(folder, tiny=True)
    return folder


def texts(offline: Path, **options: Any) -> StoriesDataModule:
    data: dict[str, Any] = {"data": str(offline / "glosses"), "tokenizer": str(offline / "model"), "batch_size": 8}
    few = {"train": 12, "validation": 4, "test": 4}
    data |= {"forget_field": "topic", "forget_values": ["animal", "plant"], "max_length": 40}
    return StoriesDataModule(**data, num_texts=few, **options)


def trained(
    folder: Path, module: L.LightningModule, data: StoriesDataModule
) -> tuple[L.LightningModule, dict[str, float]]:
    """Train and validate for an epoch."""
    L.seed_everything(0)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=1,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **quiet,
    )
    trainer.fit(module, data)
    return module, {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_training_on_states_is_training_of_the_whole_model(offline: Path, tmp_path: Path) -> None:
    checkpoint = str(offline / "model")
    frozen = ["model.model.embed_tokens.*", *(f"model.model.layers.{number}.*" for number in range(6))]
    rates: dict[str, Any] = {"learning_rate": 1e-2, "warmup_steps": 2, "weight_decay": 0.1}
    # The output layer is tied to the embeddings, so it is frozen in both.
    whole, expected = trained(
        tmp_path, LanguageModelModule(checkpoint=checkpoint, freeze=frozen, **rates), texts(offline)
    )
    states = HiddenStates(checkpoint, num_layers=2, cache=str(tmp_path / "states"))
    upper, got = trained(
        tmp_path,
        UpperLanguageModelModule(checkpoint, 2, all_tokens=True, freeze=["model.model.embed_tokens.*"], **rates),
        texts(offline, hidden_states=states),
    )
    assert got == pytest.approx(expected, rel=1e-4)
    before = LanguageModelModule(checkpoint=checkpoint).model.model.layers[6:].state_dict()
    layers = whole.model.model.layers[6:].state_dict()  # type: ignore[union-attr, index] # of transformers
    for name, weights in upper.model.model.layers.state_dict().items():  # type: ignore[union-attr] # of transformers
        torch.testing.assert_close(weights, layers[name], rtol=1e-3, atol=1e-4)
        assert (layers[name] - before[name]).abs().max() > 1e-3


def test_the_output_is_cut_to_the_tokens_that_occur(offline: Path, tmp_path: Path) -> None:
    states = HiddenStates(str(offline / "model"), num_layers=2, cache=str(tmp_path / "states"))
    data = texts(offline, hidden_states=states)
    module, logged = trained(tmp_path, UpperLanguageModelModule(str(offline / "model"), 2), data)
    tokens = data.occurring_tokens()
    assert tokens.tolist() == sorted(
        {int(token) for rows in data._rows.values() for row in rows for token in row.tokens}
    )
    assert module.model.get_output_embeddings().weight.shape[0] == len(tokens) < len(data.tokenizer)  # type: ignore[union-attr, operator]
    assert 0 < logged["val/loss/all"] < torch.tensor(float(len(data.tokenizer))).log()


def test_states_are_needed(offline: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="expected a datamodule with `hidden_states`, .* got StoriesDataModule without"
    ):
        trained(tmp_path, UpperLanguageModelModule(str(offline / "model"), 2), texts(offline))


def test_states_are_computed_once(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [Row(torch.randint(3, 50, (length,), generator=generator).int(), False, 0) for length in (3, 6, 4)]
    states = HiddenStates(str(offline / "model"), num_layers=3, cache=str(tmp_path))
    first = states.add(rows)
    assert [row.states.shape for row in first if row.states is not None] == [(3, 16), (6, 16), (4, 16)]
    calls: list[str] = []
    write = HiddenStates._write
    monkeypatch.setattr(HiddenStates, "_write", lambda *given: calls.append("computed") or write(*given))  # type: ignore[func-returns-value]
    for row, other in zip(states.add(rows), first, strict=True):
        assert row.states is not None
        assert other.states is not None
        torch.testing.assert_close(row.states, other.states)
    assert not calls
    for changed in (HiddenStates(str(offline / "model"), 2, str(tmp_path)), states):
        changed.add(rows if changed is not states else rows[:2])
    assert len(calls) == 2


@pytest.mark.parametrize("place", [3, 30, -90, -2])  # the length of the header, the header, the states, the checksum
def test_damaged_states_are_made_again(offline: Path, tmp_path: Path, place: int) -> None:
    rows = [Row(torch.tensor([4, 5, 6], dtype=torch.int32), False, 0)]
    states = HiddenStates(str(offline / "model"), num_layers=2, cache=str(tmp_path))
    (whole,) = states.add(rows)
    (path,) = tmp_path.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"{path.name}.* It is made again"):
        (again,) = states.add(rows)
    assert torch.equal(again.states, whole.states)  # type: ignore[arg-type]
    content[place] ^= 1
    assert path.read_bytes() == content


def test_a_missing_checkpoint_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`lightning-vista pretrained DIR` writes one"):
        HiddenStates(str(tmp_path / "model"))
