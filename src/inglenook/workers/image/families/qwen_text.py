# SPDX-License-Identifier: Apache-2.0
"""How Qwen-Image reads prompts: Qwen2.5-VL's states for a prompt inside a chat, with pictures before it.

The vocabulary is Qwen2's byte pair encoding: 256 bytes, 151,387 merges, and the marks of chats and pictures.
`configs/qwen/merges.txt.gz` holds the merges; see NOTICE for where they come from.
"""

import functools
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from transformers import Qwen2Tokenizer, Qwen2VLImageProcessor

from inglenook.workers.image.errors import LoadCorrupt
from inglenook.workers.image.families import folder as parts_of
from inglenook.workers.image.families.clip import byte_letters
from inglenook.workers.image.families.ldm import CONFIGS

PROMPT_TOKENS: Final = 1024
"""The longest prompt; what comes after is cut."""

PICTURE: Final = "<|image_pad|>"
_BEFORE_PICTURE, _AFTER_PICTURE = "<|vision_start|>", "<|vision_end|>"
_MERGES = CONFIGS / "qwen" / "merges.txt.gz"
_MARKS: Final = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>",
    "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
"""In the order of their numbers, which go on where the merges end."""


@dataclass(frozen=True)
class Instruction:
    """What the encoder is told to do before it reads the prompt; the model was trained on these very words.

    Attributes:
        words: of the system.
        tokens: how many the encoder's states begin with that stand for them; the model does not see those.
        numbered: whether each picture is announced by its number.
    """

    words: str
    tokens: int
    numbered: bool = False

    def chat(self, prompt: str, pictures: int) -> str:
        before = "".join(
            (f"Picture {number}: " if self.numbered else "") + _BEFORE_PICTURE + PICTURE + _AFTER_PICTURE
            for number in range(1, pictures + 1)
        )
        return (
            f"<|im_start|>system\n{self.words}<|im_end|>\n"
            f"<|im_start|>user\n{before}{_harmless(prompt)}<|im_end|>\n<|im_start|>assistant\n"
        )


_EDIT_WORDS = (
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then "
    "explain how the user's text instruction should alter or modify the image. Generate a new image that "
    "meets the user's requirements while maintaining consistency with the original input where appropriate."
)
DESCRIBE: Final = Instruction(
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships "
    "of the objects and background:",
    tokens=34,
)
EDIT: Final = Instruction(_EDIT_WORDS, tokens=64)
EDIT_SEVERAL: Final = Instruction(_EDIT_WORDS, tokens=64, numbered=True)


class Reader:
    """Args:
    tokenizer: Qwen2's.

    Attributes:
        eyes: what cuts pictures into patches for the encoder; None for a model that is shown none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.eyes: Any | None = None

    def read(
        self, encoder: Any, instruction: Instruction, prompt: str, pictures: Sequence[Image.Image] = ()
    ) -> tuple[torch.Tensor, int]:
        """States (1, tokens, width) for the prompt and the pictures before it; how many tokens were cut.

        Args:
            encoder: `Qwen2_5_VLModel`, or its language model alone where there are no pictures.
        """
        text, seen = instruction.chat(prompt, len(pictures)), {}
        if pictures:
            assert self.eyes is not None, "a model that takes references brings what looks at them"
            seen = dict(self.eyes(images=list(pictures), return_tensors="pt"))
            text = _make_room(text, seen["image_grid_thw"], self.eyes.merge_size)
        whole = self._tokenizer(text, verbose=False).input_ids
        ids = torch.tensor([whole], device=encoder.device)
        on_picture = ids[0] == self._tokenizer.convert_tokens_to_ids(PICTURE)
        longest = instruction.tokens + int(on_picture.sum()) + PROMPT_TOKENS
        ids = ids[:, :longest]
        if pictures:
            # Without the kinds of tokens, transformers counts pictures as lines of text, not as areas.
            seen = {key: tensor.to(ids.device) for key, tensor in seen.items()}
            seen["mm_token_type_ids"] = on_picture[None, :longest].int()
        states = encoder(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **seen
        ).last_hidden_state
        return states[:, instruction.tokens :], max(0, len(whole) - longest)


def tokenizer() -> Qwen2Tokenizer:
    """Qwen2's tokenizer, out of our own files."""
    vocabulary, merges = _vocabulary()
    return Qwen2Tokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=list(_MARKS[1:]))


def read_tokenizer(place: Path) -> Qwen2Tokenizer:
    """From a tokenizer's folder. Raises `LoadCorrupt`."""
    read = parts_of.configured(Qwen2Tokenizer, place)
    if read.convert_tokens_to_ids(PICTURE) is None:
        raise LoadCorrupt(f"The tokenizer in {place.parent.name}/{place.name} has no mark {PICTURE!r}.")
    return read


def eyes(place: Path | None) -> Qwen2VLImageProcessor:
    """What cuts pictures into patches. Raises `LoadCorrupt`.

    Args:
        place: the folder that configures it; None for Qwen2.5-VL's own.
    """
    return Qwen2VLImageProcessor() if place is None else parts_of.configured(Qwen2VLImageProcessor, place)


def _make_room(text: str, grids: torch.Tensor, merged: int) -> str:
    """As many marks for each picture as the encoder makes states of it.

    Args:
        grids: (pictures, 3): frames, rows and columns of patches.
        merged: side of the square of patches that becomes one state.
    """
    first, *others = text.split(PICTURE)
    states = [int(grid.prod()) // merged**2 for grid in grids]
    return first + "".join(PICTURE * n + rest for n, rest in zip(states, others, strict=True))


def _harmless(prompt: str) -> str:
    """A prompt in which no mark of chats or pictures can be written."""
    return prompt.replace("<|", "< |")


@functools.cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges = []
    with gzip.open(_MERGES, "rt", encoding="utf-8") as lines:
        for line in lines:
            left, right = line.rstrip("\n").split(" ")
            merges.append((left, right))
    words = [*byte_letters(), *(left + right for left, right in merges), *_MARKS]
    return {word: number for number, word in enumerate(words)}, merges
