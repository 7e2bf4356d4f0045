# SPDX-License-Identifier: Apache-2.0
"""Stage 4: write a checkpoint's averaged weights as an ordinary diffusers pipeline folder in float16.

python -m training.starter.export --checkpoint WORK/run/last.pt --words WORK/words --out starter-339
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from training.starter.model import ModelConfig, TextToImage, pipeline
from training.starter.words import copy_tokenizer

SIZE_LIMIT_BYTES = 30_000_000  # what the installed package may carry
# What lies beside the weights, by the side in pixels: the card, which becomes README.md with the notices of
# the training pictures after it, and what the program's catalog reads.
CARDS = {32: ("model-card.md", "inglenook.json"), 64: ("model-card-64.md", "inglenook-64.json")}
NOTICES = "model-card-notices.md"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--words", type=Path, required=True, help="folder of stage 2")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    export(arguments.checkpoint, arguments.words, arguments.out)


def export(checkpoint: Path, words: Path, out: Path) -> None:
    """Write the pipeline folder. Raises ValueError if it is larger than SIZE_LIMIT_BYTES."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    sizes = ModelConfig.from_dict(state["sizes"])
    tokenizer = CLIPTokenizer.from_pretrained(words / "tokenizer")
    model = TextToImage(sizes, len(tokenizer))
    model.load_state_dict(state["average"])
    whole = pipeline(model.eval().half(), tokenizer, sizes.shift)
    whole.vae.half()
    whole.save_pretrained(out)
    copy_tokenizer(
        words / "tokenizer", out / "tokenizer"
    )  # with the vocab.json and merges.txt of older programs
    write_card(sizes.size_px, out)
    for file in out.rglob("*.safetensors"):
        file.chmod(
            0o644
        )  # safetensors writes for the owner's eyes only; an installed package is for everyone
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if size > SIZE_LIMIT_BYTES:
        raise ValueError(f"{out.name} takes {size:,} bytes, over the limit of {SIZE_LIMIT_BYTES:,}")
    print(f"{state['images']:,} images -> {out}, {size / 1e6:.1f} MB")


def write_card(size_px: int, out: Path) -> None:
    """Write README.md and inglenook.json for a model of size_px a side. Raises KeyError for a side that no
    card was written for."""
    here = Path(__file__)
    card, sidecar = CARDS[size_px]
    texts = [here.with_name(name).read_text(encoding="utf-8") for name in (card, NOTICES)]
    (out / "README.md").write_text("\n".join(texts), encoding="utf-8")
    shutil.copyfile(here.with_name(sidecar), out / "inglenook.json")


if __name__ == "__main__":
    main()
