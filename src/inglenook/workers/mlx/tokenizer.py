# SPDX-License-Identifier: Apache-2.0
"""CLIP's tokenizer by the package `tokenizers`, from the words and merges that a converted model holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Tokens:
    """Attributes:
    input_ids: of each text.
    """

    input_ids: list[list[int]]


class ClipTokenizer:
    """Args:
    told: `tokenizer.json` of a converted model: `vocabulary`, `merges`, `start`, `end`, `pad`, `length`.

    Raises ValueError, KeyError or TypeError for what is no such file.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        start, end, pad = (str(told[name]) for name in ("start", "end", "pad"))
        words: dict[str, int] = dict(told["vocabulary"])
        merges = [(str(left), str(right)) for left, right in told["merges"]]
        self._words = words
        self.model_max_length = int(told["length"])
        self._tokenizer = Tokenizer(
            BPE(
                vocab=words,
                merges=merges,
                continuing_subword_prefix="",
                end_of_word_suffix="</w>",
                unk_token=end,
            )
        )
        self._tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        marks = dict.fromkeys((start, end, pad))
        self._tokenizer.add_special_tokens(
            [AddedToken(mark, special=True, normalized=False) for mark in marks]
        )
        self.bos_token_id, self.eos_token_id, self.pad_token_id = words[start], words[end], words[pad]

    def __call__(self, texts: Sequence[str], **_options: Any) -> Tokens:
        """Numbers without marks around them, of any length."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return Tokens([list(one.ids) for one in found])

    def convert_tokens_to_ids(self, token: str) -> int:
        """That of the end mark for a word that is not known."""
        return self._words.get(token, self.eos_token_id)
