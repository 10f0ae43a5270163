"""Texts to learn and to forget, as rows of tokens: an embedded corpus of children's stories, and users' own texts."""

from lightning_vista.text.cipher import encipher
from lightning_vista.text.corpus import load_tokenizer, read_corpus, word_tokenizer
from lightning_vista.text.grammar import Probe, tell_stories, world_probes
from lightning_vista.text.labelling import Exclude, Labelling, by_field, by_words, label_rows
from lightning_vista.text.rows import Row, collate_rows, encode_records
from lightning_vista.text.token_shards import write_token_shards
from lightning_vista.text.worlds import WORLDS

__all__ = [
    "WORLDS",
    "tell_stories",
    "encipher",
    "Probe",
    "world_probes",
    "read_corpus",
    "by_field",
    "by_words",
    "word_tokenizer",
    "load_tokenizer",
    "Row",
    "encode_records",
    "collate_rows",
    "Exclude",
    "Labelling",
    "label_rows",
    "write_token_shards",
]
