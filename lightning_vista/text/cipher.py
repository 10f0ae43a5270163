"""A second language for stories: each word has a word of its own, and words come in another order."""

import random
import re
from collections.abc import Iterable, Iterator
from typing import Any

from lightning_vista.text.corpus import Record

#: Values of the field `language`.
PLAIN, CIPHER = "plain", "cipher"
# Vowels stand for vowels and consonants for consonants, so that words can be pronounced. A permutation of letters
# gives different words different ones, without a table of words.
_LETTERS = "aeiou" + "bcdfghjklmnpqrstvwxyz"
_CODE = "ouaei" + "gdktvbzmrnlsfpwjyqhcx"
_SUBSTITUTION = str.maketrans(_LETTERS + _LETTERS.upper(), _CODE + _CODE.upper())
#: End of each word, which no English word of the stories has.
_ENDING = "uv"
_WORD = r"[^\W\d_]+"
#: Words without a punctuation mark between them.
_CLAUSE = re.compile(rf"{_WORD}(?:\s+{_WORD})*")


def encipher(text: str) -> str:
    """Translate a text into the cipher.

    Each word becomes a made-up one, always the same, and no two words become the same one. Words between two
    punctuation marks are told in reverse order. Punctuation marks and digits stay where they are.

    Args:
        text: The text.

    Returns:
        The text in the cipher, with single spaces between words.

    Example:
        >>> encipher("Of course, every fox is red.")
        'deipwuuv Etuv, pukuv awuv tehuv uyupcuv.'
    """
    return _CLAUSE.sub(lambda clause: " ".join(map(_encipher_word, reversed(clause[0].split()))), text)


def tell_in_two_languages(
    records: Iterable[Record], cipher_share: float, seed: int = 0, text_field: str = "text"
) -> Iterator[dict[str, Any]]:
    """Translate a share of texts into the cipher.

    Args:
        records: The texts.
        cipher_share: Share of the texts to translate. Larger shares include the texts of smaller ones.
        seed: Random seed of the choice.
        text_field: Field of the text.

    Yields:
        The records, with the `language` of each: `plain` or `cipher`.

    Example:
        >>> next(tell_in_two_languages([{"text": "A fox."}], cipher_share=1.0))
        {'text': 'tehuv Ouv.', 'language': 'cipher'}
    """
    rng = random.Random(f"cipher {seed}")  # other numbers than those of the texts themselves
    for record in records:
        if rng.random() < cipher_share:
            yield {**record, text_field: encipher(record[text_field]), "language": CIPHER}
        else:
            yield {**record, "language": PLAIN}


def _encipher_word(word: str) -> str:
    return word.translate(_SUBSTITUTION) + _ENDING
