# SPDX-License-Identifier: Apache-2.0
"""Whisper models: folders of CTranslate2, and files of whisper.cpp."""

import contextlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.model import ModelKind, ModelRecord, SpeechFacts
from inglenook.catalog.service import CatalogService
from inglenook.catalog.speech import read_ctranslate2, read_ggml

Variables = Mapping[str, tuple[Sequence[int], int]]
"""Name → sides, and the number of the type."""
BYTES = (4, 1, 2, 4, 2, 2)
ENGLISH, MANY = 51_864, 51_866


def name(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def model_bin(variables: Variables, *, spec: str = "WhisperSpec", version: int = 6) -> bytes:
    parts = [struct.pack("<I", version), name(spec), struct.pack("<II", 3, len(variables))]
    for key, (sides, kind) in variables.items():
        count = BYTES[kind]
        for side in sides:
            count *= side
        parts.append(name(key) + struct.pack(f"<B{len(sides)}IBI", len(sides), *sides, kind, count))
        parts.append(bytes(count))
    return b"".join([*parts, struct.pack("<I", 0)])


def whisper(folder: Path, *, mels: int = 80, words: int = ENGLISH, spectrogram: int | None = None) -> Path:
    """A folder of CTranslate2 with all its files; the matrices are one column wide."""
    folder.mkdir(parents=True)
    variables = {
        "decoder/embeddings/weight": ([words, 1], 4),
        "encoder/conv1/weight": ([4, mels, 3], 4),
        "encoder/scale": ([], 0),
    }
    (folder / "model.bin").write_bytes(model_bin(variables))
    codes = ["en", "de", "yue"]
    (folder / "config.json").write_text(json.dumps({"lang_ids": [3, 4, 5]}), encoding="utf-8")
    vocabulary = ["a", "b", "c", *(f"<|{code}|>" for code in codes)]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    if spectrogram is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": spectrogram}))
    return folder


def the_record(root: Path) -> ModelRecord:
    (record,) = CatalogService(roots=[root], builtin=root / "none").list()
    return record


def test_a_folder_for_english_is_a_speech_model(tmp_path: Path) -> None:
    folder = whisper(tmp_path / "tiny.en")
    record = the_record(tmp_path)
    assert (record.id, record.kind, record.path, record.problem) == (
        "tiny.en",
        ModelKind.SPEECH,
        folder,
        None,
    )
    assert record.speech == SpeechFacts("faster-whisper", ("en",), 80)
    assert (record.dtype, record.parameters) == ("float16", ENGLISH + 4 * 80 * 3 + 1)
    assert record.components == {"decoder": 2 * ENGLISH, "encoder": 2 * 4 * 80 * 3 + 4}
    assert len(record.digest) == 64


def test_the_starter_is_recognised(speech_model: Path) -> None:
    identity, weights = read_ctranslate2(speech_model)
    assert identity.problem is None
    assert identity.speech == SpeechFacts("faster-whisper", ("en",), 80)
    assert 36_000_000 < weights.parameters < 40_000_000


def test_a_model_of_many_languages_names_them(tmp_path: Path) -> None:
    whisper(tmp_path / "large", words=MANY, mels=128, spectrogram=128)
    assert the_record(tmp_path).speech == SpeechFacts("faster-whisper", ("en", "de", "yue"), 128)


def test_languages_are_also_read_from_a_text(tmp_path: Path) -> None:
    folder = whisper(tmp_path / "base", words=MANY)
    (folder / "vocabulary.json").unlink()
    (folder / "vocabulary.txt").write_text("a\nb\nc\n<|en|>\n<|fr|>\nd", encoding="utf-8")
    assert the_record(tmp_path).speech == SpeechFacts("faster-whisper", ("en", "fr"), 80)


@pytest.mark.parametrize(
    ("missing", "says"),
    [("tokenizer.json", "tokenizer.json is missing"), ("vocabulary.json", "vocabulary.json is missing")],
)
def test_a_file_that_would_be_fetched_is_missed(tmp_path: Path, missing: str, says: str) -> None:
    (whisper(tmp_path / "tiny") / missing).unlink()
    record = the_record(tmp_path)
    assert record.kind is ModelKind.SPEECH
    assert says in str(record.problem)


def test_bands_that_would_be_heard_wrongly_are_a_problem(tmp_path: Path) -> None:
    whisper(tmp_path / "large", words=MANY, mels=128)
    assert "hears 128 bands, and without preprocessor_config.json 80" in str(the_record(tmp_path).problem)


def test_a_translator_is_no_speech_model(tmp_path: Path) -> None:
    folder = whisper(tmp_path / "other")
    (folder / "model.bin").write_bytes(model_bin({}, spec="TransformerSpec"))
    record = the_record(tmp_path)
    assert record.kind is ModelKind.OTHER
    assert "something else than speech (TransformerSpec)" in str(record.problem)


HEAD = struct.pack("<I", 6) + name("WhisperSpec") + struct.pack("<I", 3)
ONE = HEAD + struct.pack("<I", 1) + name("a")
HOSTILE = {
    "empty": (b"", "ends inside"),
    "another version": (struct.pack("<I", 99) + bytes(40), "version 99"),
    "2^32 - 1 variables": (HEAD + struct.pack("<I", 2**32 - 1), "4294967295 variables"),
    "a name without letters": (struct.pack("<IH", 6, 0) + bytes(40), "a name of 0 bytes"),
    "a long name": (struct.pack("<IH", 6, 60_000) + bytes(40), "a name of 60000 bytes"),
    "a type that there is not": (ONE + b"\0\x09" + bytes(40), "as type 9"),
    "cut off": (model_bin({"a": ([100], 0)})[:-200], "ends inside"),
    "255 sides": (ONE + b"\xff" + bytes(2000), "255 sides"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_header_that_cannot_be_says_where_it_breaks(tmp_path: Path, what: str) -> None:
    data, says = HOSTILE[what]
    (whisper(tmp_path / "m") / "model.bin").write_bytes(data)
    assert says in str(the_record(tmp_path).problem)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 200), change=st.binary(min_size=1, max_size=8))
def test_changed_bytes_raise_nothing_but_our_error(tmp_path: Path, place: int, change: bytes) -> None:
    folder = tmp_path / "m"
    if not folder.exists():
        whisper(folder)
    data = bytearray(model_bin({"a": ([3, 2], 4), "encoder/conv1/weight": ([2, 80, 3], 0)}))
    data[place : place + len(change)] = change
    (folder / "model.bin").write_bytes(data)
    with contextlib.suppress(CorruptModel):
        read_ctranslate2(folder)


def ggml(*, words: int = ENGLISH, mels: int = 80, mixture: int = 1) -> bytes:
    return b"lmgg" + struct.pack("<11i", words, 1500, 384, 6, 4, 448, 384, 6, 4, mels, mixture) + bytes(100)


def test_a_file_of_whisper_cpp_is_listed_with_what_to_get_instead(tmp_path: Path) -> None:
    (tmp_path / "ggml-tiny.en.bin").write_bytes(ggml())
    record = the_record(tmp_path)
    assert (record.id, record.kind) == ("ggml-tiny.en", ModelKind.SPEECH)
    assert record.speech == SpeechFacts("whisper.cpp", ("en",), 80)
    assert "not run here\nhint: get the model for faster-whisper" in str(record.problem)
    assert record.dtype == "f16"


def test_a_large_one_of_many_languages_hears_128_bands(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(ggml(words=MANY, mels=128, mixture=2007))
    assert the_record(tmp_path).speech == SpeechFacts("whisper.cpp", (), 128)


def test_an_old_language_model_of_the_same_beginning_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(
        b"lmgg" + struct.pack("<11i", 32000, 4096, 256, 32, 32, 128, 2, 0, 0, 0, 0)
    )
    record = the_record(tmp_path)
    assert record.kind is ModelKind.OTHER
    assert "ggml file of an old kind" in str(record.problem)


def test_one_that_ends_at_once_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"lmgg" + bytes(10))
    assert "ends inside" in str(the_record(tmp_path).problem)
    with pytest.raises(CorruptModel):
        read_ggml(tmp_path / "m.bin")


def test_other_files_that_end_in_bin_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\3\4" + bytes(100))
    (tmp_path / "empty.bin").write_bytes(b"")
    assert CatalogService(roots=[tmp_path], builtin=tmp_path / "none").list() == []
