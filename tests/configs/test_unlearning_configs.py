"""The configs of unlearning: those of the paper's size are what they say, and all of them run small."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import lightning as L
import pytest
import torch
import yaml
from own_model import write_own_model
from study_runs import printed_table
from transformers import AutoModelForCausalLM, AutoTokenizer

from lightning_vista.callbacks import RelearningAttack
from lightning_vista.cli import main, run_lightning
from lightning_vista.models import LanguageModelModule
from lightning_vista.routing.naming import find_modules
from lightning_vista.study import expand_study, read_study
from lightning_vista.study.spec import merge
from lightning_vista.text import load_tokenizer, tell_stories

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs/unlearning"
SHARED = [ROOT / "configs/routing/language_model.yaml", FOLDER / "stories.yaml"]
WHOLE = {FOLDER / f"{name}.yaml" for name in ("stories", "own_model", "adapters")}  # that need no other config
LAYERS = {FOLDER / "sgtm_held_still.yaml"}  # on top of a method; the study runs it
METHODS = sorted(set(FOLDER.glob("*.yaml")) - WHOLE - LAYERS)
#: Options that make a run small: of the trainer, and of the callbacks that act after training.
SMALL = {
    "max_steps": 2, "val_check_interval": 2, "limit_val_batches": 1, "limit_test_batches": 1, "accelerator": "cpu",
    "precision": "32-true", "accumulate_grad_batches": 1,
}  # fmt: skip
SMALL_CALLBACKS = {
    "CoherenceTuning": {"num_samples": 4, "steps": 2, "num_evaluated": 4},
    "RelearningAttack": {"num_samples": [2], "steps": 2, "num_evaluated": 4, "repeats": 1},
    "RepresentationMisdirection": {"num_samples": 8, "steps": 2},
    "MaxEntropyTuning": {"num_samples": 8, "steps": 2, "num_evaluated": 4},
    "QuantisationAttack": {"num_evaluated": 4},
    "Undo": {"num_samples": 8, "steps": 2, "num_evaluated": 4},
    "SteeringScalar": {"num_texts": 2, "new_tokens": 3},
    "ModelCheckpoint": {"every_n_train_steps": 1},
}
#: Of each config of the paper's size the parameters, in millions, and the routed modules.
PAPER = {"tinystories_28m": (52, 5), "fineweb_virology": (774, 8), "california": (306, 10)}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with own texts and an own model."""
    folder = tmp_path_factory.mktemp("own")
    named = "virus vaccine gene DNA California San Los tree forest"
    texts = [{"text": f"{named} . {story['text']}" if number % 4 else story["text"]}
             for number, story in enumerate(tell_stories(900))]  # fmt: skip
    write_own_model(folder, texts)
    return folder


def merged(*paths: Path) -> dict[str, Any]:
    """Configs laid over each other, as a study does it."""
    config: dict[str, Any] = {}
    for path in paths:
        config = merge(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    return config


#: From the last to the first checkpoint that a run may write.
WRITTEN = ("tuned.ckpt", "ablated.ckpt", "checkpoints/last.ckpt")


def run_small(config: dict[str, Any], folder: Path, tested: Sequence[str] = WRITTEN) -> dict[str, float]:
    """Train and test a config with small options.

    Returns:
        What was logged in the test: of the first of the checkpoints that was written.
    """
    config["trainer"] |= {**SMALL, "default_root_dir": str(folder)}
    for callback in config["trainer"]["callbacks"]:
        options = SMALL_CALLBACKS.get(callback["class_path"].rpartition(".")[2], {})
        callback["init_args"] = callback.get("init_args", {}) | options
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["fit", "--config", str(path)])
    checkpoint = next(folder / name for name in tested if (folder / name).exists())
    return dict(run_lightning(["test", "--config", str(path), "--ckpt_path", str(checkpoint)]))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
def test_every_method_trains_and_tests(method: Path, tmp_path: Path) -> None:
    config = merged(*SHARED, method)
    config["data"]["init_args"] |= {"num_stories": 600, "validation_share": 0.1, "test_share": 0.1}
    logged = run_small(config, tmp_path)
    assert logged["test/loss/forget"] > 0
    measured = "steering/0/concept" if method.stem == "steering_scalar" else "relearned/2/forget"
    assert f"test/{measured}" in logged
    if method.stem == "undo":
        assert {path.stem for path in tmp_path.glob("*.ckpt")} == {"max_entropy", "undo", "tuned"}
        assert logged["test/quantised/int4/forget"] > 0


@pytest.mark.slow
def test_gram_has_profiles_with_and_without_its_module(tmp_path: Path) -> None:
    config = merged(*SHARED, FOLDER / "gram.yaml")
    config["data"]["init_args"] |= {"num_stories": 600, "validation_share": 0.1, "test_share": 0.1}
    logged = run_small(config, tmp_path, ["checkpoints/last.ckpt"])
    assert logged["test/profile/core+forest/loss/all"] == pytest.approx(logged["test/loss/all"])
    assert logged["test/profile/core+forest@0/loss/all"] == logged["test/profile/core/loss/all"]
    loader: Any = AutoModelForCausalLM
    assert loader.from_pretrained(tmp_path / "profiles/core+forest").config.intermediate_size == 256 + 23
    options = ["--config", str(tmp_path / "small.yaml"), "--ckpt_path", str(tmp_path / "ablated.ckpt")]
    ablated = dict(run_lightning(["test", *options]))
    assert ablated["test/loss/all"] == pytest.approx(logged["test/profile/core/loss/all"])
    assert "test/profile/core/loss/all" in ablated
    assert "test/profile/core+forest/loss/all" not in ablated


def test_own_model_and_texts_by_the_readmes_yaml(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    logged = run_small(merged(FOLDER / "own_model.yaml"), tmp_path)
    assert logged["test/relearned/2/forget"] > 0
    loader: Any = AutoModelForCausalLM
    tuned = loader.from_pretrained(tmp_path / "tuned")
    assert tuned.model.layers[0].mlp.down_proj.in_features == 16
    vocabulary = load_tokenizer(str(own / "my_model")).get_vocab()
    for folder in ("tokenizer", "ablated", "tuned"):
        assert AutoTokenizer.from_pretrained(tmp_path / folder).get_vocab() == vocabulary
    assert len(vocabulary) > 300


def test_two_adapters_on_an_own_model(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    config = merged(FOLDER / "adapters.yaml")
    assert run_small(config, tmp_path)["test/relearned/2/forget"] > 0
    loader: Any = AutoModelForCausalLM
    plain, trained = loader.from_pretrained(tmp_path / "ablated"), loader.from_pretrained("my_model")
    changed = {name for name, value in plain.state_dict().items() if not torch.equal(value, trained.state_dict()[name])}
    layers = config["trainer"]["callbacks"][0]["init_args"]["config"]["target_modules"]
    assert {name.split(".")[-2] for name in changed} == set(layers)


@pytest.mark.parametrize("name", PAPER)
def test_configs_of_the_papers_size_are_what_they_say(name: str) -> None:
    config = merged(FOLDER / "paper" / f"{name}.yaml")
    options = config["model"]["init_args"]
    with torch.device("meta"):
        module = LanguageModelModule(**options)
    millions = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    (routing,) = (c["init_args"] for c in config["trainer"]["callbacks"] if c["class_path"].endswith("GradientRouting"))
    patterns = routing["routes"][0]["module"]
    found = find_modules(module, patterns if isinstance(patterns, list) else [patterns])
    assert (round(millions), len(found)) == PAPER[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_configs_of_the_papers_size_run_small(name: str, own: Path, tmp_path: Path) -> None:
    config = merged(FOLDER / "paper" / f"{name}.yaml")
    own_data = {"data": str(own / "my_texts.jsonl"), "tokenizer": str(own / "my_model"), "batch_size": 4}
    data = {**own_data, "max_length": 64, "num_workers": 0, "forget_words": ["forest", "virus", "california"]}
    width = {"hidden_size": 32} if name == "tinystories_28m" else {"n_embd": 40, "n_head": 4}
    sizes = {**config["model"]["init_args"]["sizes"], **width, "vocab_size": 1400, "bos_token_id": 2, "eos_token_id": 2}
    config["data"]["init_args"] |= data
    config["model"]["init_args"]["sizes"] = sizes
    assert run_small(config, tmp_path)["test/loss/retain"] > 0


@pytest.mark.parametrize(
    "name",
    [
        "unlearning_tuning",
        "unlearning_stories",
        "unlearning_robustness",
        "unlearning_partial_labels",
        "unlearning_retain_steps",
        "steering_scalar",
    ],
)
def test_studies_fit_their_configs(name: str, tmp_path: Path) -> None:
    study = read_study(ROOT / f"configs/studies/{name}.yaml")
    for smoke in (False, True):
        for run in expand_study(study, tmp_path, smoke=smoke, full=True):
            listed = [callback["class_path"].rpartition(".")[2] for callback in run.config["trainer"]["callbacks"]]
            if name == "steering_scalar":
                assert listed == ["ModelCheckpoint", "GradientRouting", "SteeringScalar"]
            else:
                assert listed[1] == "RelearningAttack"
                assert "CoherenceTuning" in listed[-2:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("steering_scalar", 2),
        ("unlearning_partial_labels", 8),
        ("unlearning_retain_steps", 3),
        ("unlearning_robustness", 8),
        ("unlearning_settling", 6),
        ("unlearning_stories", 6),
    ],
)
def test_studies_run_small(name: str, rows: int, tmp_path: Path) -> None:
    study = ROOT / f"configs/studies/{name}.yaml"
    main(["study", str(study), "--smoke", "--jobs", "2", "--out", str(tmp_path)])
    assert len(printed_table(tmp_path)) == rows + 2
    assert (tmp_path / "study.html").exists()


def _adds(block: Any) -> bool:
    """Whether a block of the docs lists callbacks."""
    return isinstance(block, list) or "callbacks+" in block.get("trainer", {})


def test_the_yaml_of_the_docs_is_what_classes_take(tmp_path: Path) -> None:
    page = (ROOT / "docs/unlearning.md").read_text(encoding="utf-8")
    blocks = list(map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)))
    lists = [block if isinstance(block, list) else block["trainer"]["callbacks+"] for block in blocks if _adds(block)]
    (study,) = (block for block in blocks if "compute_ratios" in block)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--callbacks", type=list[L.Callback])
    listed = [callback for callbacks in lists for callback in callbacks]
    made = parser.instantiate_classes(parser.parse_object({"callbacks": listed})).callbacks
    names = [type(callback).__name__ for callback in made]
    assert {"MaxEntropyTuning", "Undo", "CapabilityProfiles", "BranchExpansion", "QuantisationAttack"} <= set(names)
    attacks = [callback for callback in made if isinstance(callback, RelearningAttack)]
    assert ([0.001, 0.0003, 0.0001, 0.00003], "runs/base") in [(attack.rates, attack.baseline) for attack in attacks]
    described = {"title": "t", "metrics": {}, "runs": [{"name": "base"}], **study}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    assert len(read_study(tmp_path / "study.yaml").compute_ratios) == 2


@pytest.mark.slow
def test_a_study_derives_compute_ratios_and_frontiers_from_the_losses_of_its_runs(tmp_path: Path) -> None:
    stories = read_study(ROOT / "configs/studies/unlearning_robustness.yaml")
    smoke = {key: value for key, value in stories.smoke.items() if not key.startswith("callbacks.CoherenceTuning")}
    frontier = {"title": "F", "series": {"forget": "forget"}, "x": "retain", "frontier": "max_entropy.csv"}
    small = {f"callbacks.{name}": SMALL_CALLBACKS[name] for name in ("MaxEntropyTuning", "Undo", "QuantisationAttack")}
    study = {
        "title": "t",
        "configs": [str(path) for path in SHARED],
        "runs": [
            {"name": "base"},
            {
                "name": "UNDO",
                "configs": [str(FOLDER / "undo.yaml")],
                "overrides": {**small, "callbacks.CoherenceTuning": SMALL_CALLBACKS["CoherenceTuning"]},
                "commands": {"test": {"ckpt_path": "{folder}/undo.ckpt"}},
            },
        ],
        "metrics": {"forget loss": "test/loss/forget"},
        "baseline": "base",
        "compute_ratios": {"compute ratio": {"value": "test/loss/forget", "curve": "val/loss/forget"}},
        "figures": [frontier, {**frontier, "x": "val/loss/retain", "frontier": "losses.csv",
                               "series": {"forget": "val/loss/forget"}}],
        "smoke": {**smoke, "trainer.val_check_interval": 2, "trainer.precision": "32-true"},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    main(["study", str(tmp_path / "study.yaml"), "--smoke", "--jobs", "2", "--out", str(tmp_path / "out")])
    table = printed_table(tmp_path / "out")
    assert table[0] == "| run | forget loss | compute ratio |"
    ratios = {cells[1].strip(): float(cells[3]) for cells in (line.split("|") for line in table[2:])}
    assert all(1 / 3 <= ratio <= 1 for ratio in ratios.values())  # validations after 2, 4 and 6 steps
    points = (tmp_path / "out/frontiers.csv").read_text(encoding="utf-8")
    assert {line.split(",")[1] for line in points.splitlines()[1:]} == {"base", "UNDO"}
