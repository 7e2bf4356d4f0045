# SPDX-License-Identifier: Apache-2.0
"""Stage 2: the tokenizer, and a word table that starts where a language model has put the words.

    python -m training.starter.words --data WORK/data --minilm MODEL_FOLDER --out WORK/words [--align
    starter-100]

Every caption word becomes one token. Each whole word's row starts from its all-MiniLM-L6-v2 sentence vector,
reduced from 384 to 192 numbers by PCA; training moves the rows of words that captions use, and the others
stay near their neighbours in meaning, so that "sofa" can still mean something. With --align, the map from 384
to 192 is instead fitted to the table of a trained model, and words that model has keep its rows: that is how
a warm start changes tokenizers.
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModel, AutoTokenizer, CLIPTextModel, CLIPTokenizer

from training.starter import captions
from training.starter.data import SETS
from training.starter.vocabulary import COLOUR_NAMES, read_vocabulary

WIDTH = 192  # of a word vector, and of the text encoder
TOKENS = 24  # longest prompt, start and end included
START, END = "<|startoftext|>", "<|endoftext|>"
GENERAL_WORDS = 6000  # ordinary English words beside the captions' own
VOCABULARY_SIZE = 12_000  # an upper bound for the BPE trainer
ROW_SCALE = 0.5  # spread of a fresh table; 1.0 was seen to drown the position embeddings


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of stage 1")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: tokenizer/ and table.npy")
    parser.add_argument("--align", type=Path, default=None, help="pipeline folder of a trained starter model")
    arguments = parser.parse_args()
    build(arguments.data, arguments.minilm, arguments.out, arguments.align)


def build(data: Path, minilm: Path, out: Path, align: Path | None) -> None:
    """Write out/tokenizer and out/table.npy, float32 (vocabulary, WIDTH)."""
    keywords: dict[str, list[str]] = json.loads((data / "catalog.json").read_text(encoding="utf-8"))[
        "keywords"
    ]
    wanted = caption_words(keywords)
    general = [
        word for word in (minilm / "vocab.txt").read_text(encoding="utf-8").split() if word not in wanted
    ]
    general = [word for word in general if re.fullmatch("[a-z]{3,12}", word)][:GENERAL_WORDS]
    tokenizer = make_tokenizer(sorted(wanted), general)
    split = sorted(word for word in wanted if len(tokenizer.tokenize(word)) != 1)
    if split:
        raise ValueError(f"caption words that are more than one token: {split}; raise VOCABULARY_SIZE")
    out.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, out / "tokenizer")

    tokens: list[str] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    rows = np.random.default_rng(0).normal(0, 0.5 * ROW_SCALE, (len(tokens), WIDTH)).astype(np.float32)
    whole = [i for i, token in enumerate(tokens) if re.fullmatch("[a-z]{2,}</w>|a</w>", token)]
    vectors = embed(minilm, [tokens[i].removesuffix("</w>") for i in whole])
    if align is None:
        rows[whole] = principal_components(vectors, WIDTH) * ROW_SCALE
    else:
        theirs = CLIPTextModel.from_pretrained(align / "text_encoder", dtype=torch.float32)
        table = theirs.get_input_embeddings().weight.detach().numpy()
        ids = CLIPTokenizer.from_pretrained(align / "tokenizer").get_vocab()
        shared = [k for k, i in enumerate(whole) if tokens[i] in ids]
        target = table[[ids[tokens[whole[k]]] for k in shared]]
        design = np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], 1)
        weights, *_ = np.linalg.lstsq(design[shared], target, rcond=None)
        rows[whole] = design @ weights
        for i, token in enumerate(tokens):
            if token in ids:
                rows[i] = table[ids[token]]
        error = float(np.abs(design[shared] @ weights - target).mean() / np.abs(target).mean())
        print(f"aligned on {len(shared)} shared words, relative error {error:.3f}")
    np.save(out / "table.npy", rows)
    print(f"{len(wanted)} caption words, {len(whole)} whole words, {len(tokens)} tokens -> {out}")


def caption_words(keywords: dict[str, list[str]]) -> set[str]:
    """Every word that a caption or an evaluation prompt of the whole vocabulary can hold."""
    phrases = [
        name for noun in read_vocabulary() for name in (*noun.names, noun.trial_name, *noun.held_out_names)
    ]
    words = {word for phrase in phrases for word in phrase.split()} | captions.all_words() | set(COLOUR_NAMES)
    words |= {item.style for item in SETS}
    words |= {"grey"} | {word for group in keywords.values() for word in group}
    return {word for word in words if re.fullmatch("[a-z]+", word)}


def make_tokenizer(wanted: list[str], general: list[str]) -> CLIPTokenizer:
    """Train a CLIP-style byte-pair tokenizer on two lists of words, the first heavily weighted."""
    bpe = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>", continuing_subword_prefix=""))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        min_frequency=1,
        show_progress=False,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
    )
    bpe.train_from_iterator([*wanted * 50, *general], trainer)
    document: dict[str, Any] = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = document["vocab"]
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(letter + "</w>", len(vocabulary))  # CLIP ends words with one of these
    merges = [tuple(pair) for pair in document["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TOKENS, pad_token=END)


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save in the new layout (tokenizer.json) and the old one (vocab.json, merges.txt)."""
    tokenizer.save_pretrained(folder)
    document: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(document["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in document["merges"])]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a tokenizer folder, file by file."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        shutil.copyfile(file, target / file.name)


@torch.no_grad()
def embed(minilm: Path, words: list[str]) -> np.ndarray:
    """MiniLM's sentence vector of each word: float32 (words, 384), length 1."""
    tokenizer, encoder = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    parts: list[np.ndarray] = []
    for start in range(0, len(words), 256):
        batch = tokenizer(words[start : start + 256], padding=True, return_tensors="pt")
        hidden = encoder(**batch).last_hidden_state  # (B, T, 384)
        mask = batch["attention_mask"][..., None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        parts.append(torch.nn.functional.normalize(mean, dim=-1).numpy())
    return np.concatenate(parts)


def principal_components(vectors: np.ndarray, width: int) -> np.ndarray:
    """(N, D) -> (N, width), centred, overall standard deviation 1."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    reduced: np.ndarray = centred @ axes[:width].T
    reduced /= reduced.std()
    return reduced


if __name__ == "__main__":
    main()
