"""The most likely mistakes of a newcomer: each has a message of one line that says what to do."""

from pathlib import Path

import pytest

from lightning_vista.cli import main

SCORE = "test --model RandomScorer --data ViSTaDataModule --data.shards shards --trainer.logger false"
#: Command line -> words of its message. Files of `mistaken` are in the current folder.
MISTAKES = {
    # Commands and options
    "tset --config vista/clip.yaml": "Did you mean 'test'?",
    "shards biuld tasks videos shards": "Did you mean 'build'?",
    "report runs/clip": "the following arguments are required: --out",
    "report runs/clip --out report --rescalling none": "`--rescalling`: unknown option. Did you mean '--rescaling'?",
    "report runs/clip --out report --rescaling nome": "got 'nome'. Did you mean 'none'?",
    "demo --scale half": "argument --scale: invalid float value: 'half'",
    "demo --scal 0.1": "`--scal`: unknown option. Did you mean '--scale'?",
    # Options of LightningCLI
    "test": "expected --model and --data, or a --config with these",
    f"{SCORE} --trainer.max_epoks 3": "Did you mean '--trainer.max_epochs'?",
    f"{SCORE} --data.batchsize 4": "`data.batchsize`: unknown option of ViSTaDataModule. Did you mean 'batch_size'?",
    f"{SCORE} --data.batch_size four": "`data.batch_size`: expected int, got four",
    f"{SCORE} --evaluation.rescaling bth": "`evaluation.rescaling`: expected one of 'none', 'video', 'label', 'both'",
    "test --model RandomScorr --data ViSTaDataModule": "got 'RandomScorr'. Did you mean 'RandomScorer'?",
    "test --model my_scorer.Colour --data ViSTaDataModule": "No module named 'my_scorer'",
    "fit --config routing/partition_classifier.yaml --model.learning_rat 1": "Did you mean 'learning_rate'?",
    # Files
    "test --config vista/clip_smal.yaml --data.shards shards": "Did you mean 'vista/clip_small.yaml'?",
    "test --config typo.yaml": "`data.shard`: unknown option of ViSTaDataModule. Did you mean 'shards'?",
    "test --config broken.yaml": "broken.yaml: expected YAML: while parsing a flow mapping: expected ',' or",
    "test --config vista/viclip.yaml --data.shards shards": "lightning-vista: No weights at ViCLIP-L_InternVid",
    "test --config vista/s3d.yaml --data.shards shards": "lightning-vista: No weights at s3d_howto100m.pth. Expected",
    "test --config latin.yaml": "latin.yaml: expected YAML: 'utf-8' codec can't decode",
    "test --config deep.yaml": "deep.yaml: expected YAML: ",
    "study partition_digits --set a": "`--set`: expected KEY=VALUE, got 'a'.",
    "study partition_digits --set a=1 a=2": "`--set`: expected one value for a, got several. Remove all but one.",
    "study partition_digits --set a=[1": "`--set`: expected a value in YAML for a, got '[1'. Quote it",
    "study partition_digit": "Did you mean 'studies/partition_digits.yaml'?",
    SCORE: "No index.json in shards. Give a folder that `lightning-vista shards build` has finished.",
    "test --model RandomScorer --data ViSTaDataModule --trainer.logger false": "`shards`: expected a folder written by",
    "shards build tasks videos shards": "No folder of problem sets at tasks. Give the dataset's `tasks` folder.",
    "shards build tasks videos shards --workers -1": "`workers`: expected at least 1, or 0 for one per core, got -1.",
    "shards build tasks videos shards --max-shard-mb nan": "`max_shard_mb`: expected a positive number of megabytes",
    "shards build tasks videos shards --max-shard-mb inf": "`max_shard_mb`: expected a positive number of megabytes",
    "shards verify shards --workers -1": "`workers`: expected at least 1, or 0 for one per core, got -1.",
    "report nowhere --out report": "No score table",
    "import nowhere.csv out": "No file or folder at nowhere.csv.",
    "compose nowhere.csv out": "No table of clips at nowhere.csv.",
}


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistaken")
    model, data = "model: {class_path: RandomScorer}\n", "data: {class_path: ViSTaDataModule, init_args: {shard: x}}\n"
    (folder / "typo.yaml").write_text(model + data, encoding="utf-8")
    (folder / "latin.yaml").write_bytes("model: café\n".encode("latin-1"))
    (folder / "deep.yaml").write_text("model: " + "[" * 3000, encoding="utf-8")
    (folder / "broken.yaml").write_text("model: {class_path: RandomScorer\ndata: [\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_told_in_one_line(
    command: str, mistaken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mistaken)
    with pytest.raises(SystemExit) as raised:
        main(command.split())
    message = str(raised.value.code)
    assert message.startswith("lightning-vista")
    assert "\n" not in message
    assert len(message) < 400
    assert MISTAKES[command] in message
    printed = capsys.readouterr()
    assert "usage" not in printed.out + printed.err
