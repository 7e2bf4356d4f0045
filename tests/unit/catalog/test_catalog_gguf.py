# SPDX-License-Identifier: Apache-2.0
"""The beginning of GGUF files."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.gguf import MAX_BYTES, identify_gguf
from inglenook.catalog.model import ModelKind


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*fields: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(fields)) + b"".join(fields)


def architecture(name: str) -> bytes:
    return text("general.architecture") + struct.pack("<I", 8) + text(name)


def number(key: str) -> bytes:
    return text(key) + struct.pack("<II", 4, 7)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf"


@pytest.mark.parametrize(
    ("name", "kind", "family", "says"),
    [
        ("flux", ModelKind.IMAGE, "flux", "not drawn from GGUF files yet"),
        ("sd3", ModelKind.IMAGE, "sd3", "not drawn"),
        ("qwen_image", ModelKind.IMAGE, "qwen-image", "not drawn"),
        ("t5encoder", ModelKind.TEXT_ENCODER, None, "text encoders"),
        ("llama", ModelKind.LANGUAGE, None, "language models"),
        ("qwen3", ModelKind.LANGUAGE, None, "language models"),
    ],
)
def test_a_gguf_file_is_what_it_says(
    file: Path, name: str, kind: ModelKind, family: str | None, says: str
) -> None:
    identity = identify_gguf(write(file, gguf(number("x"), architecture(name)) + b"\0" * 100))
    assert (identity.kind, identity.family) == (kind, family)
    assert says in str(identity.problem)


def test_one_that_does_not_say_is_called_so(file: Path) -> None:
    assert "does not say" in str(identify_gguf(write(file, gguf(number("x")))).problem)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not begin"),
        (b"GGML" + b"\0" * 20, "does not begin"),
        (b"GGUF\3", "ends inside"),
        (gguf(architecture("flux"), version=9), "version 9"),
        (gguf(architecture("flux"))[:-2], "ends inside"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "ends inside"),
    ],
)
def test_a_broken_one_says_where_it_breaks(file: Path, data: bytes, says: str) -> None:
    with pytest.raises(CorruptModel, match=says):
        identify_gguf(write(file, data))


def test_a_field_that_is_longer_than_what_is_read_ends_the_search(file: Path) -> None:
    long = text("notes") + struct.pack("<I", 8) + text("x" * 2 * MAX_BYTES)
    assert "does not say" in str(identify_gguf(write(file, gguf(long, architecture("flux")))).problem)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=200))
def test_noise_raises_nothing_but_our_error(file: Path, noise: bytes) -> None:
    with contextlib.suppress(CorruptModel):
        identify_gguf(write(file, b"GGUF" + noise))
