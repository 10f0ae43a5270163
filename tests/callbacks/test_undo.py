import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from routed_run import make_trainer
from tiny_texts import NextToken, Texts
from torch import nn

from lightning_vista.callbacks import MaxEntropyTuning, Undo
from lightning_vista.models.finetuning import held_out_texts, mean_losses
from lightning_vista.models.fresh_weights import fresh_weights


def undo(**options: Any) -> Undo:
    usual: dict[str, Any] = {
        "num_samples": 12,
        "num_evaluated": 20,
        "learning_rate": 0.02,
        "steps": 5,
        "batch_size": 4,
        "seed": 3,
    }
    return Undo(**usual | options)


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def test_each_step_distills_the_model_before_into_its_corrupted_copy(tmp_path: Path) -> None:
    model, data = NextToken(), Texts()
    unlearning = MaxEntropyTuning(steps=3, num_samples=12, num_evaluated=20, learning_rate=0.02)
    make_trainer(unlearning, undo(tolerance=-9), default_root_dir=tmp_path).fit(model, data)
    teacher = NextToken().eval()
    teacher.load_state_dict(weights(tmp_path / "max_entropy.ckpt"))
    student, noise = copy.deepcopy(teacher), fresh_weights(teacher, 3)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            parameter.copy_(0.4 * parameter + 0.6 * 0.1 * noise[name])
    optimizer = torch.optim.AdamW(student.parameters(), 0.02)
    generator = torch.Generator().manual_seed(3)
    retain = data.sample("train", False, 12, 3)["ids"]
    for _ in range(5):
        divergences = []
        for row in retain[torch.randperm(12, generator=generator)[:4]]:
            for before, after in pairwise(row):
                if after > 0:
                    p, q = teacher.network(before).softmax(0).detach(), student.network(before).softmax(0)
                    divergences.append((p * (p / q).log()).sum())
        optimizer.zero_grad()
        torch.stack(divergences).mean().backward()
        optimizer.step()
    torch.testing.assert_close(weights(tmp_path / "undo.ckpt"), dict(student.state_dict()))
    # The trained model and what was unlearned stay as they are.
    plain = NextToken()
    make_trainer().fit(plain, Texts())
    torch.testing.assert_close(dict(model.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)


def test_it_ends_within_the_tolerance_of_its_teacher(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, callback = Texts(), undo(steps=400, evaluate_every=10, tolerance=0.05)
    model = NextToken()
    with caplog.at_level("INFO"):
        make_trainer(callback, default_root_dir=tmp_path, max_epochs=20).fit(model, data)
    assert callback.teacher == pytest.approx(mean_losses(model.eval(), held_out_texts(data, "validation", 20, 3)))
    retain = [point["retain"] - callback.teacher["retain"] for point in callback.curve]
    assert retain[-1] <= 0.05 < min(retain[:-1])
    assert 0 < callback.curve[-1]["step"] < 400
    assert "It did not come within" not in caplog.text
    assert (tmp_path / "undo.csv").read_text().splitlines()[0] == "step,forget,retain"


def test_without_noise_there_is_nothing_to_distill(tmp_path: Path) -> None:
    model, callback = NextToken(), undo(alpha=0)
    make_trainer(callback, default_root_dir=tmp_path).fit(model, Texts())
    assert [point["step"] for point in callback.curve] == [0]
    torch.testing.assert_close(weights(tmp_path / "undo.ckpt"), dict(model.state_dict()), rtol=0, atol=0)


def test_a_tolerance_that_is_not_reached_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        make_trainer(undo(alpha=1.0, steps=1), default_root_dir=tmp_path, max_epochs=20).fit(NextToken(), Texts())
    assert "It did not come within 0.05 of its teacher; raise `steps`." in caplog.text


def test_the_seed_decides_bit_for_bit(tmp_path: Path) -> None:
    results = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_trainer(undo(seed=seed), default_root_dir=tmp_path / folder).fit(NextToken(), Texts())
        results.append(weights(tmp_path / folder / "undo.ckpt")["network.1.weight"])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    class Scaled(NextToken):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(ValueError, match="`alpha`: expected a share between 0 and 1, got 1.5"):
        undo(alpha=1.5)
    with pytest.raises(ValueError, match="Expected 21 rows, there are 20"):
        make_trainer(undo(num_samples=21)).fit(NextToken(), Texts())
    with pytest.raises(ValueError, match=r"got parameters without either: \['scale'\]"):
        make_trainer(undo(), default_root_dir=tmp_path).fit(Scaled(), Texts())
