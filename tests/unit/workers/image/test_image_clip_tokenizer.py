# SPDX-License-Identifier: Apache-2.0
"""CLIP's own vocabulary: token numbers that are published and must never move."""

import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from inglenook.workers.image.families.clip import tokenizer
from inglenook.workers.image.families.clip_words import vocabulary

START, END = 49406, 49407


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A  PHOTO of\na cat", [320, 1125, 539, 320, 2368]),
        ("hello world!", [3306, 1002, 256]),
        ("", []),
    ],
)
def test_texts_become_the_published_tokens(text: str, tokens: list[int]) -> None:
    assert tokenizer(pad="<|endoftext|>")(text).input_ids == [START, *tokens, END]


def test_the_vocabulary_is_whole() -> None:
    assert len(tokenizer(pad="!")) == 49408


@pytest.mark.parametrize(("pad", "number"), [("<|endoftext|>", END), ("!", 0)])
def test_texts_are_padded_to_77_as_each_encoder_was_trained(pad: str, number: int) -> None:
    ids = tokenizer(pad=pad)("a", padding="max_length", max_length=77, truncation=True).input_ids
    assert len(ids) == 77
    assert ids[3:] == [number] * 74


def test_every_letter_of_every_script_has_tokens() -> None:
    reads = tokenizer(pad="!")
    for text in ("lächeln", "狐", "🦊", "ß\u00a0½"):
        assert reads.unk_token_id not in reads(text).input_ids[1:-1]


def test_a_folder_of_the_old_kind_with_vocab_and_merges_reads_the_same(tmp_path: Path) -> None:
    """Folders of Stable Diffusion bring `vocab.json` and `merges.txt`, and no `tokenizer.json`."""
    words, merges = vocabulary()
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "!"})
    )
    old = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "A Red fox, 狐 🦊, in the snow; 8k"
    padded = {"padding": "max_length", "max_length": 77, "truncation": True}
    assert old(text, **padded).input_ids == tokenizer(pad="!")(text, **padded).input_ids
