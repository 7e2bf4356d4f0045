# SPDX-License-Identifier: Apache-2.0
"""What stands in a prompt besides words: LoRAs and textual inversions. Pure; linear in the prompt's length.

    a cat <lora:watercolour:0.8>, by a window     the LoRA "watercolour" at 0.8 (1 when no number follows)
    a cat, <embedding:bad-hands>                  a textual inversion, in place of a word
    a cat, embedding:bad-hands                    the same, as ComfyUI writes it

A tag is taken out of the text; what weights words, as in (cat:1.2), is left to the model that reads it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from inglenook.images.errors import BadRequest

MAX_TAG_CHARS = 300

_LORA = re.compile(rf"<\s*lora\s*:([^<>:\n]{{1,{MAX_TAG_CHARS}}})(?::([^<>\n]{{0,40}}))?>", re.IGNORECASE)
_EMBEDDING = re.compile(
    rf"<\s*embedding\s*:([^<>:\n]{{1,{MAX_TAG_CHARS}}})>|\bembedding:([\w./-]{{1,{MAX_TAG_CHARS}}})",
    re.IGNORECASE,
)
_COMMAS = re.compile(r"[ \t]*,(?:[ \t]*,)+")
_SPACES = re.compile(r"[ \t]{2,}")


@dataclass(frozen=True, slots=True)
class LoraTag:
    """`name` as it was written; `weight` 1 where none was."""

    name: str
    weight: float


@dataclass(frozen=True, slots=True)
class Parsed:
    """A prompt without its tags.

    Attributes:
        text: each embedding stands in it as `embedding:name`.
        embeddings: names, each once, in the order in which they first stand.
    """

    text: str
    loras: tuple[LoraTag, ...]
    embeddings: tuple[str, ...]


def parse(prompt: str, *, field: str = "prompt") -> Parsed:
    """Take the tags out of a prompt.

    Raises:
        BadRequest: the weight of a LoRA is no number.
    """
    loras: list[LoraTag] = []

    def lora(match: re.Match[str]) -> str:
        loras.append(LoraTag(match[1].strip(), _weight(match[1], match[2], field)))
        return ""

    embeddings: dict[str, None] = {}

    def embedding(match: re.Match[str]) -> str:
        name = (match[1] or match[2]).strip()
        embeddings[name] = None
        return f"embedding:{name}"

    text = _EMBEDDING.sub(embedding, _LORA.sub(lora, prompt))
    return Parsed(_tidied(text) if loras else text, tuple(loras), tuple(embeddings))


def renamed(prompt: str, rename: Callable[[str], str]) -> str:
    """The prompt with the names in its LoRA tags replaced by what `rename` makes of them."""

    def tag(match: re.Match[str]) -> str:
        weight = "" if match[2] is None else f":{match[2]}"
        return f"<lora:{rename(match[1].strip())}{weight}>"

    return _LORA.sub(tag, prompt)


def _weight(name: str, text: str | None, field: str) -> float:
    # A1111 lets a second number follow, for the text encoder; the first is the one that counts there too.
    first = (text or "").split(":")[0].strip()
    if not first:
        return 1.0
    try:
        weight = float(first)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise BadRequest(
            f"The weight of the LoRA {name.strip()!r} is {first[:40]!r}, which is no number.",
            field=field,
            hint=f"write <lora:{name.strip()[:60]}:0.8>",
        )
    return weight


def _tidied(text: str) -> str:
    """Without the commas and spaces that stood around a tag."""
    text = _COMMAS.sub(",", _SPACES.sub(" ", text)).strip()
    return re.sub(r" +,", ",", text).strip(", ") if text else ""
