# SPDX-License-Identifier: Apache-2.0
"""The beginning of a `.gguf` file: which architecture it says it is. Nothing more of it is read.

    ┌──────┬─────────┬─────────┬────────┬──────────────────────────────┬─────────┐
    │ GGUF │ version │ tensors │ fields │ field: name, type, value     │ …       │
    │      │ u32     │ u64     │ u64    │ `general.architecture` first │         │
    └──────┴─────────┴─────────┴────────┴──────────────────────────────┴─────────┘

All numbers are little-endian; a text is its length (u64) and its bytes.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.identity import Identity
from inglenook.catalog.model import LanguageFacts, LanguageTask, ModelKind

MAX_BYTES = 64 * 1024
"""As much is read of a file. The field that is looked for stands first in files of every program."""
MAX_FIELDS = 64

_TEXT = 8
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type."""

_PICTURES = {
    "flux": "flux", "flux2": "flux2", "sd1": "sd1", "sd2": "sd2", "sdxl": "sdxl", "sd3": "sd3",
    "qwen_image": "qwen-image", "lumina2": "lumina2", "wan": "wan", "hidream": "hidream", "chroma": "chroma",
}  # fmt: skip
_ENCODERS = {"t5": "t5", "t5encoder": "t5", "clip": "clip", "qwen2vl": "qwen2.5-vl"}


def identify_gguf(path: Path) -> Identity:
    """What a GGUF file is, by its own word.

    Raises:
        CorruptModel: it is no GGUF file, or ends before its fields do.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES)
    fields = _fields(data, path.name)
    found = fields.get("general.architecture")
    architecture = found if isinstance(found, str) else None
    if architecture is None:
        return Identity(ModelKind.OTHER, None, "it is a GGUF file that does not say what it holds")
    if architecture in _PICTURES:
        family = _PICTURES[architecture]
        problem = "pictures are not drawn from GGUF files yet\nhint: get the model as .safetensors"
        return Identity(ModelKind.IMAGE, family, problem)
    if architecture in _ENCODERS:
        problem = "text encoders are not read from GGUF files yet\nhint: get it as .safetensors"
        return Identity(ModelKind.TEXT_ENCODER, None, problem, role=_ENCODERS[architecture])
    return Identity(ModelKind.LANGUAGE, None, language=_facts(architecture, fields))


def _facts(architecture: str, fields: Mapping[str, str | int]) -> LanguageFacts:
    def number(name: str) -> int:
        value = fields.get(f"{architecture}.{name}", 0)
        return value if isinstance(value, int) else 0

    heads, width = number("attention.head_count"), number("embedding_length")
    embeds = architecture in ("bert", "nomic-bert", "jina-bert-v2", "gemma-embedding")
    return LanguageFacts(
        task=LanguageTask.EMBEDDING if embeds else LanguageTask.CHAT,
        architecture=architecture,
        context=number("context_length"),
        width=width,
        heads=heads,
        kv_heads=number("attention.head_count_kv") or heads,
        key_width=number("attention.key_length") or width // max(heads, 1),
        value_width=number("attention.value_length") or width // max(heads, 1),
        layer_bytes=(0,) * number("block_count"),
    )


def _fields(data: bytes, name: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    if data[:4] != b"GGUF":
        raise CorruptModel(f"{name} does not begin as a GGUF file does.", hint="fetch it again")
    try:
        version, _, fields = struct.unpack_from("<IQQ", data, 4)
        if version not in (2, 3):
            raise CorruptModel(f"{name} is a GGUF file of version {version}; 2 and 3 are read.")
        place = 24
        for _ in range(min(fields, MAX_FIELDS)):
            key, place = _text(data, place)
            (kind,) = struct.unpack_from("<I", data, place)
            if kind == _TEXT:
                found[key] = _text(data, place + 4)[0]
            elif kind in (4, 5, 10, 11):
                found[key] = int.from_bytes(data[place + 4 : place + 4 + _SIZES[kind]], "little")
            place = _skip(data, place + 4, kind)
    except (struct.error, IndexError):
        if len(data) < MAX_BYTES:
            raise CorruptModel(
                f"{name} ends inside its header.", hint="the file is cut off; fetch it again"
            ) from None
    return found


def _text(data: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, place)
    end = place + 8 + length
    if end > len(data):
        raise IndexError
    return data[place + 8 : end].decode("utf-8", "replace"), end


def _skip(data: bytes, place: int, kind: int) -> int:
    """Where the value after this one begins; arrays are longer than what is read, and end the search."""
    if kind == _TEXT:
        return _text(data, place)[1]
    if kind not in _SIZES:
        raise IndexError
    return place + _SIZES[kind]
