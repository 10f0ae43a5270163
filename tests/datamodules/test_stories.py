import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from lightning_vista.datamodules import StoriesDataModule
from lightning_vista.text import Labelling, tell_stories, word_tokenizer


def module(**options: Any) -> StoriesDataModule:
    data = StoriesDataModule(**{"num_stories": 200, "batch_size": 8, "validation_share": 0.2, **options})
    data.setup("fit")
    return data


def test_batches_of_the_embedded_corpus() -> None:
    data = module(forget_values=["sea", "farm"], labelling=Labelling(forget=0.5))
    stories = {story["text"].lower(): story["world"] for story in tell_stories(200)}
    worlds = {data.tokenizer.decode(data.tokenizer.encode(text)): world for text, world in stories.items()}
    rows = 0
    for batch in data.train_dataloader():
        assert batch["input_ids"].shape == batch["attention_mask"].shape
        assert torch.equal(batch["attention_mask"] == 0, batch["input_ids"] == data.tokenizer.pad_token_id)
        assert set(batch["known"][batch["is_forget"] == 1].tolist()) <= {1, -1}
        assert (batch["known"][batch["is_forget"] == 0] == 0).all()
        texts = data.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
        assert [worlds[text] in ("sea", "farm") for text in texts] == (batch["is_forget"] == 1).tolist()
        rows += len(texts)
    others = [len(batch["known"]) for loader in (data.val_dataloader(), data.test_dataloader()) for batch in loader]
    assert rows + sum(others) == 200
    again = module(forget_values=["sea", "farm"])
    first, second = (next(iter(loader.val_dataloader()))["input_ids"] for loader in (data, again))
    assert torch.equal(first, second)


def test_own_texts_with_words_to_forget(tmp_path: Path) -> None:
    texts = ["The virus spreads fast.", "Bread is baked."] * 60
    (tmp_path / "my.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    data = module(data=str(tmp_path / "my.jsonl"), forget_words=["virus"])
    for batch in data.train_dataloader():
        has_word = (batch["input_ids"] == data.tokenizer.convert_tokens_to_ids("virus")).any(dim=1)
        assert torch.equal(has_word, batch["is_forget"] == 1)


def test_a_choice_that_selects_no_text_is_told(recwarn: pytest.WarningsRecorder) -> None:
    module(forget_values=[])
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"`forget_values`: expected some texts to forget .* got none by .*'Sea'"):
        module(forget_values=["Sea"])
    with pytest.warns(UserWarning, match="`forget_words`: expected some texts to forget in stories, got none"):
        module(forget_words=["zebrafish"])


def test_what_training_leaves_out() -> None:
    pure = module(exclude="forget")
    assert not any(batch["is_forget"].any() for batch in pure.train_dataloader())
    assert any(batch["is_forget"].any() for batch in pure.val_dataloader())
    assert len(pure.tokenizer) == len(module().tokenizer)  # or losses could not be compared


def test_batches_of_one_group() -> None:
    known = [batch["known"].unique().tolist() for batch in module(homogeneous=True).train_dataloader()]
    assert {tuple(group) for group in known} == {(0,), (1,)}


def test_stories_in_two_languages() -> None:
    forget: dict[str, Any] = {"forget_field": "language", "forget_values": ["cipher"]}
    data = module(cipher_share=0.4, **forget, labelling=Labelling(0.5, 0.5), homogeneous="kinds")
    english = {word for story in tell_stories(200) for word in data.tokenizer.tokenize(story["text"])}
    groups = set()
    for batch in data.train_dataloader():
        ((known, is_forget),) = {*zip(batch["known"].tolist(), batch["is_forget"].tolist(), strict=True)}
        groups.add((known, is_forget))
        for text in data.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True):
            words = [word for word in text.split() if word.isalpha()]
            assert not any(word in english for word in words) if is_forget else all(word in english for word in words)
    assert groups == {(1, 1), (0, 0), (-1, 1), (-1, 0)}
    mixed = module(cipher_share=0.4, **forget, labelling=Labelling(0.5, 0.5), homogeneous="labels")
    assert any(len(batch["is_forget"].unique()) == 2 for batch in mixed.train_dataloader())
    with pytest.warns(UserWarning, match="`forget_values`: expected some texts to forget"):
        plain = module(**forget)
    assert not any(batch["is_forget"].any() for batch in plain.train_dataloader())
    for options in ({"cipher_share": 1.5}, {"cipher_share": 0.5, "data": "my.jsonl"}):
        with pytest.raises(ValueError, match="`cipher_share`: expected a share between 0 and 1, and 0 for data other"):
            StoriesDataModule(**options)
    with pytest.raises(ValueError, match="`homogeneous`: expected one of 'labels', 'kinds', got 'kind'"):
        StoriesDataModule(homogeneous="kind")  # type: ignore[arg-type]


def test_batches_of_similar_lengths() -> None:
    padding = []
    for grouped in (False, True):
        data = module(group_by_length=grouped)
        batches = [*data.train_dataloader(), *data.val_dataloader()]
        padding.append(sum(int((batch["attention_mask"] == 0).sum()) for batch in batches))
    assert 0 < padding[1] < 0.6 * padding[0]
    with pytest.raises(ValueError, match="`group_by_length`: expected `homogeneous` beside `labelled_first`"):
        StoriesDataModule(group_by_length=True, labelled_first=True)


def test_samples() -> None:
    data = module()
    few, more = (data.sample("train", True, count) for count in (2, 4))
    assert more["is_forget"].tolist() == [1] * 4
    assert torch.equal(few["attention_mask"].sum(1), more["attention_mask"].sum(1)[:2])
    with pytest.raises(
        ValueError, match=r"`count`: expected at most \d+, the number of test rows to retain, got 500.*`num_evaluated`"
    ):
        data.sample("test", False, 500)


def test_as_many_texts_of_each_kind_are_drawn() -> None:
    few, more = (module(num_texts={"train": count, "test": 2}, max_length=1000) for count in (3, 5))
    assert [len(few._rows[split]) for split in ("train", "test")] == [6, 4]
    assert len(few._rows["validation"]) == len(module(max_length=1000)._rows["validation"])
    assert [sum(row.is_forget for row in few._rows[split]) for split in ("train", "test")] == [3, 2]
    drawn = [{tuple(row.tokens.tolist()) for row in data._rows["train"]} for data in (few, more)]
    assert len(drawn[1]) == 10
    with pytest.raises(ValueError, match=r"`num_texts`: expected at most \d+, since there are .* got 1000"):
        module(num_texts={"validation": 1000})
    with pytest.raises(ValueError, match="`num_texts`: expected one of 'train', 'validation', 'test', got 'val'"):
        StoriesDataModule(num_texts={"val": 3})


def test_token_shards_give_the_same_rows(tmp_path: Path) -> None:
    memory = module()
    memory.write_shards(str(tmp_path / "shards"), rows_per_shard=40)
    shards = module(data=str(tmp_path / "shards"))
    assert shards.tokenizer.get_vocab() == memory.tokenizer.get_vocab()
    forget = [sum(int(b["is_forget"].sum()) for b in data.test_dataloader()) for data in (memory, shards)]
    assert forget[0] == forget[1] > 0
    batch = next(iter(shards.train_dataloader()))
    assert batch["input_ids"].shape[0] == 8
    assert len(shards.sample("train", False, 3)["known"]) == 3
    with pytest.raises(ValueError, match="`labelled_first`, `num_texts`: expected none for token shards"):
        module(data=str(tmp_path / "shards"), labelled_first=True, num_texts={"test": 2})
    with pytest.raises(ValueError, match="`labelling.extend`: expected none for token shards"):
        module(data=str(tmp_path / "shards"), labelling=Labelling(extend=True))


def test_shards_of_another_beginning_are_refused(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(story["text"] for story in tell_stories(200))
    tokenizer.add_special_tokens({"bos_token": "[BOS]"})
    special = [("[BOS]", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="[BOS] $A", special_tokens=special)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for name, add_bos in (("with", None), ("without", False)):
        data = module(tokenizer=str(tmp_path / "tokenizer"), add_bos=add_bos)
        begins = data.sample("test", True, 3)["input_ids"][:, 0] == tokenizer.bos_token_id
        assert begins.tolist() == [add_bos is None] * 3
        data.write_shards(str(tmp_path / name))
    assert module(data=str(tmp_path / "with")).sample("train", True, 1)["input_ids"][0, 0] == tokenizer.bos_token_id
    module(data=str(tmp_path / "with"), add_bos=True)
    module(data=str(tmp_path / "without"), add_bos=False)
    with pytest.raises(ValueError, match=r"`add_bos`: expected token shards .* got \[\] in .* Set it to false"):
        module(data=str(tmp_path / "without"))
    with pytest.raises(ValueError, match="`add_bos`: .* Set it to true"):
        module(data=str(tmp_path / "with"), add_bos=False)
    index = tmp_path / "without" / "index.json"
    content = json.loads(index.read_text()) | {"version": 1}
    for key in ("beginning", "seal", "sha256"):  # as earlier versions wrote it, always without
        del content[key]
    index.write_text(json.dumps(content))
    module(data=str(tmp_path / "without"), add_bos=False)
    with pytest.raises(ValueError, match="Set it to false"):
        module(data=str(tmp_path / "without"))


def test_shards_of_other_texts_to_forget_are_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("fox\nbear\n", encoding="utf-8")
    module(forget_words=["fox", "bear"]).write_shards(str(tmp_path / "shards"))
    module(data=str(tmp_path / "shards"), forget_words=str(tmp_path / "words.txt"))
    with pytest.raises(
        ValueError, match=r"selected by {'forget_words': \['fox'\]}, got {'forget_words': \['fox', 'bear"
    ):
        module(data=str(tmp_path / "shards"), forget_words=["fox"])
    with pytest.raises(ValueError, match=r"selected by {'forget_field': 'world', .*got {'forget_words'"):
        module(data=str(tmp_path / "shards"))


def test_unknown_words_are_refused() -> None:
    exclude: Any = "forgotten"
    with pytest.raises(ValueError, match="`exclude`: expected .* got 'forgotten'. Did you mean 'forget'"):
        StoriesDataModule(exclude=exclude)
    with pytest.raises(ValueError, match="`split`: expected one of 'train', 'validation', 'test', got 'val'"):
        StoriesDataModule().sample("val", True, 1)
