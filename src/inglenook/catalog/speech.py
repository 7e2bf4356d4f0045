# SPDX-License-Identifier: Apache-2.0
"""Whisper models, which write down speech: folders of CTranslate2 and files of whisper.cpp.

A folder of CTranslate2 holds `config.json`, `vocabulary.json` or `.txt`, `tokenizer.json` and `model.bin`:

    ┌─────────┬─────────────────┬──────────┬───────────┬───────────────────────────────────────────────┐
    │ version │ what it is:     │ revision │ variables │ variable: name, number of sides (u8), sides   │
    │ u32     │ `WhisperSpec`   │ u32      │ u32       │ (u32), type (u8), bytes (u32), then its bytes │
    └─────────┴─────────────────┴──────────┴───────────┴───────────────────────────────────────────────┘

where a text is its length (u16) and its bytes, the last of them 0. A file of whisper.cpp begins with `ggml`
as a little-endian number, and eleven numbers (i32) that describe the network.
"""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.forward import Window
from inglenook.catalog.ggml import MIXTURES
from inglenook.catalog.identity import Identity, Weights
from inglenook.catalog.model import ModelKind, SpeechFacts

MODEL: Final = "model.bin"
VOCABULARIES: Final = ("vocabulary.json", "vocabulary.txt")
TOKENIZER: Final = "tokenizer.json"
SPECTROGRAM: Final = "preprocessor_config.json"
CONFIG: Final = "config.json"
GGML_MAGIC: Final = b"lmgg"

MAX_VARIABLES: Final = 20_000
MAX_NAME_BYTES: Final = 512
MAX_SIDES: Final = 8
MAX_VOCABULARY_BYTES: Final = 16 * 1024 * 1024
ENGLISH_WORDS: Final = 51_864
"""Size of the vocabulary of the English models; those of many languages have at least one more."""
USUAL_MELS: Final = 80

_U8, _U16, _U32 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I")
_TYPES: Final = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_HPARAMS: Final = struct.Struct("<11i")
_LANGUAGES = 200


@dataclass(frozen=True, slots=True)
class _Variable:
    sides: tuple[int, ...]
    type: str
    size_bytes: int

    @property
    def scalars(self) -> int:
        count = 1
        for side in self.sides:
            count *= side
        return count


def is_ctranslate2(names: set[str]) -> bool:
    """Whether a folder with these files is a model of CTranslate2."""
    return {MODEL, CONFIG} <= names and (TOKENIZER in names or not names.isdisjoint(VOCABULARIES))


def read_ctranslate2(folder: Path) -> tuple[Identity, Weights]:
    """What a folder of CTranslate2 holds.

    Raises:
        CorruptModel: `model.bin` has no sound header, or is cut off.
        OSError: a file cannot be read.
    """
    path = folder / MODEL
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        window = Window(file, size, MODEL, chunk_bytes=512)
        spec, variables = _spec(window), _variables(window)
        digest = window.digest()
    if spec != "WhisperSpec":
        problem = f"it is a model of CTranslate2 for something else than speech ({spec[:60]})"
        return Identity(ModelKind.OTHER, None, problem), _weights(variables, digest)
    facts = SpeechFacts("faster-whisper", _languages(folder, variables), _mels(variables))
    return Identity(ModelKind.SPEECH, None, _lacking(folder, facts), speech=facts), _weights(
        variables, digest
    )


def _spec(window: Window) -> str:
    (version,) = window.unpack(_U32)
    if not 4 <= version <= 16:
        raise window.refuse(f"is no model.bin of CTranslate2 that is known here (version {version}).")
    spec = _text(window)
    window.unpack(_U32)  # the revision
    return spec


def _text(window: Window) -> str:
    (length,) = window.unpack(_U16)
    if not 0 < length <= MAX_NAME_BYTES:
        raise window.refuse(
            f"has a name of {length} bytes at byte {window.place}; 1 to {MAX_NAME_BYTES} are read."
        )
    return window.take(length).rstrip(b"\0").decode("utf-8", "replace")


def _variables(window: Window) -> dict[str, _Variable]:
    (count,) = window.unpack(_U32)
    if count > MAX_VARIABLES:
        raise window.refuse(
            f"announces {count} variables; at most {MAX_VARIABLES} are read.", "fetch it again"
        )
    found = {}
    for _ in range(count):
        name = _text(window)
        (rank,) = window.unpack(_U8)
        if rank > MAX_SIDES:
            raise window.refuse(f"describes {name[:80]!r} with {rank} sides; at most {MAX_SIDES} are read.")
        sides = tuple(window.unpack(_U32)[0] for _ in range(rank))
        (kind,), (size,) = window.unpack(_U8), window.unpack(_U32)
        if kind >= len(_TYPES):
            raise window.refuse(f"stores {name[:80]!r} as type {kind}, which is not known here.")
        found[name] = _Variable(sides, _TYPES[kind], size)
        window.leap(size)
    return found


def _weights(variables: dict[str, _Variable], digest: str) -> Weights:
    components: Counter[str] = Counter()
    scalars: Counter[str] = Counter()
    for name, variable in variables.items():
        components[name.partition("/")[0]] += variable.size_bytes
        scalars[variable.type] += variable.scalars
    main = max(sorted(scalars), key=lambda name: scalars[name]) if scalars else "unknown"
    return Weights(dict(components), sum(scalars.values()), main, digest)


def _mels(variables: dict[str, _Variable]) -> int:
    convolution = variables.get("encoder/conv1/weight")
    return convolution.sides[1] if convolution is not None and len(convolution.sides) == 3 else 0


def _words(variables: dict[str, _Variable]) -> int:
    table = variables.get("decoder/embeddings/weight")
    return table.sides[0] if table is not None and table.sides else 0


def _languages(folder: Path, variables: dict[str, _Variable]) -> tuple[str, ...]:
    """English models have the other languages' tokens too, and were never taught them."""
    if _words(variables) <= ENGLISH_WORDS:
        return ("en",)
    ids = _json(folder / CONFIG).get("lang_ids")
    words = _vocabulary(folder)
    found = [words[one] for one in ids or () if isinstance(one, int) and 0 <= one < len(words)]
    return tuple(word.strip("<|>") for word in found[:_LANGUAGES] if word.startswith("<|"))


def _vocabulary(folder: Path) -> Sequence[str]:
    for name in VOCABULARIES:
        path = folder / name
        if not path.is_file():
            continue
        data = _bounded(path).decode("utf-8", "replace")
        if path.suffix == ".txt":
            return data.split("\n")
        words = _loads(data, name)
        return [str(word) for word in words] if isinstance(words, list) else []
    return []


def _lacking(folder: Path, facts: SpeechFacts) -> str | None:
    """Without these files faster-whisper would fetch them, or hear wrongly."""
    if not facts.mels:
        return "its model.bin holds no first convolution"
    if not any((folder / name).is_file() for name in VOCABULARIES):
        return "vocabulary.json is missing\nhint: fetch it again"
    if not (folder / TOKENIZER).is_file():
        return f"{TOKENIZER} is missing\nhint: fetch it again, or copy it from another model of its size"
    spectrogram = folder / SPECTROGRAM
    told = _json(spectrogram).get("feature_size", USUAL_MELS) if spectrogram.is_file() else USUAL_MELS
    if told != facts.mels:
        where = (
            f"{SPECTROGRAM} says {told}"
            if spectrogram.is_file()
            else f"without {SPECTROGRAM} {USUAL_MELS} are used"
        )
        return f"it hears {facts.mels} bands, and {where}\nhint: fetch {SPECTROGRAM} with it"
    return None


def _json(path: Path) -> dict[str, Any]:
    found = _loads(_bounded(path).decode("utf-8-sig", "replace"), path.name)
    if not isinstance(found, dict):
        raise CorruptModel(f"{path.name} does not hold a JSON object.")
    return found


def _loads(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptModel(f"{name} is not JSON: {str(error)[:120]}.") from None


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_VOCABULARY_BYTES + 1)
    if len(data) > MAX_VOCABULARY_BYTES:
        raise CorruptModel(f"{path.name} is longer than {MAX_VOCABULARY_BYTES} bytes.")
    return data


# ── whisper.cpp ───────────────────────────────────────────────────────────────────────────────────────────


def is_ggml(path: Path) -> bool:
    """Whether a file begins as one of whisper.cpp does. Reads four bytes."""
    try:
        with path.open("rb") as file:
            return file.read(4) == GGML_MAGIC
    except OSError:
        return False


def read_ggml(path: Path) -> tuple[Identity, Weights]:
    """What a `ggml` file is: a Whisper of whisper.cpp, or something older.

    Raises:
        CorruptModel: it ends in its first lines.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        window = Window(file, size, path.name, chunk_bytes=512)
        window.take(len(GGML_MAGIC))
        words, hears, width, heads, layers, _, _, _, _, mels, mixture = window.unpack(_HPARAMS)
        digest = window.digest()
    weights = Weights({"all": size}, 0, MIXTURES.get(mixture % 1000, "unknown").lower(), digest)
    plausible = (
        51_000 < words < 60_000 and 0 < hears <= 1500 and 0 < layers <= 64 and width % max(heads, 1) == 0
    )
    if not plausible or mels not in (80, 128):
        problem = (
            "it is a ggml file of an old kind, which nothing reads any more\nhint: get the model as .gguf"
        )
        return Identity(ModelKind.OTHER, None, problem), weights
    facts = SpeechFacts("whisper.cpp", ("en",) if words <= ENGLISH_WORDS else (), mels)
    problem = (
        "it is a Whisper for whisper.cpp, which is not run here"
        "\nhint: get the model for faster-whisper: a folder with model.bin, config.json and tokenizer.json"
    )
    return Identity(ModelKind.SPEECH, None, problem, speech=facts), weights
