# SPDX-License-Identifier: Apache-2.0
"""The header reader against real files, broken files and noise."""

import json
import shlex
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save, save_file
from tests.model_files import raw_safetensors

from inglenook.base.errors import InglenookError
from inglenook.catalog.errors import CorruptModel, PickledModel
from inglenook.catalog.safetensors import MAX_HEADER_BYTES, MAX_READ_BYTES, parse_header, read_header


def entry(dtype: str = "F16", shape: object = (2, 3), offsets: object = (0, 12)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write(path: Path, document: object, data: bytes = b"\0" * 12) -> Path:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    path.write_bytes(raw_safetensors(raw, data))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def refusal(path: Path) -> str:
    with pytest.raises(CorruptModel) as caught:
        read_header(path)
    assert caught.value.code == "catalog.corrupt"
    assert path.name in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_what_the_safetensors_package_writes_is_read_as_it_was(file: Path, dtype: str) -> None:
    save_file(
        {"b": np.zeros((2, 3), dtype), "a": np.zeros((5,), dtype), "scalar": np.zeros((), dtype)},
        file,
        {"k": "v"},
    )
    header = read_header(file)
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        "b": (2, 3),
        "a": (5,),
        "scalar": (),
    }
    assert sum(tensor.scalars for tensor in header.tensors.values()) == 12
    assert sum(tensor.size_bytes for tensor in header.tensors.values()) == 12 * np.dtype(dtype).itemsize
    assert header.metadata == {"k": "v"}


def test_a_file_without_tensors_is_sound(file: Path) -> None:
    assert read_header(write(file, {}, b"")).tensors == {}


def test_a_tensor_with_a_side_of_zero_takes_no_place(file: Path) -> None:
    header = read_header(write(file, {"none": entry(shape=[0, 7], offsets=[0, 0])}, b""))
    assert header.tensors["none"].scalars == 0


def test_a_header_whose_length_looks_like_a_pickle_is_read(file: Path) -> None:
    """640 is 0x280: the file starts with the two bytes that start a pickle of protocol 2."""
    raw = json.dumps({"a": entry()}).encode().ljust(640)
    assert write(file, raw).read_bytes()[:2] == b"\x80\x02"
    assert list(read_header(file).tensors) == ["a"]


def test_an_empty_file_is_called_empty(file: Path) -> None:
    file.write_bytes(b"")
    assert "is empty" in refusal(file)


def test_a_file_of_four_bytes_is_too_short(file: Path) -> None:
    file.write_bytes(b"abcd")
    assert "has 4 bytes" in refusal(file)


def test_a_header_length_of_2_to_the_63_is_refused_without_reading(file: Path) -> None:
    file.write_bytes(raw_safetensors(b"{}", length=2**63))
    assert f"declares a header of {2**63} bytes" in refusal(file)


def test_a_header_longer_than_the_file_is_refused(file: Path) -> None:
    file.write_bytes(raw_safetensors(b"{}", length=1000))
    assert "a header of 1000 bytes, but only 2 follow" in refusal(file)


def test_a_header_one_byte_over_the_limit_is_refused(file: Path) -> None:
    """The file is sparse: it has the size, and takes no place."""
    with file.open("wb") as out:
        out.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}")
        out.truncate(MAX_HEADER_BYTES + 100)
    assert f"the format allows {MAX_HEADER_BYTES}" in refusal(file)


def test_a_header_that_is_allowed_but_longer_than_any_models_is_not_read(file: Path) -> None:
    with file.open("wb") as out:
        out.write((MAX_READ_BYTES + 1).to_bytes(8, "little") + b"{}")
        out.truncate(MAX_READ_BYTES + 100)
    assert f"at most {MAX_READ_BYTES} are read" in refusal(file)


def test_a_million_tensors_are_refused_before_anything_is_made_of_them() -> None:
    """A header of that many would take the best part of a gigabyte, and a minute."""
    one = b'"%d":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}'
    raw = b"{" + b",".join(one % number for number in range(1_000_000)) + b"}"
    tracemalloc.start()
    try:
        with pytest.raises(CorruptModel, match="declares 1000000 tensors; at most 100000"):
            parse_header(raw, data_bytes=0, name="m.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' + b"[" * 10 + b",".join([b"[]"] * 400_000) + b"]" * 10 + b"}",
        b"{" + b",".join(b'"%d":""' % number for number in range(1_300_000)) + b"}",
        b'{"a":{' + b",".join(b'"%d":{}' % number for number in range(400_000)) + b"}}",
    ],
)
def test_a_header_full_of_other_values_is_refused_as_soon(raw: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CorruptModel, match="holds more values than"):
            parse_header(raw, data_bytes=0, name="m.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_shape_of_a_million_sides_ends_in_time(file: Path) -> None:
    sides = ",".join([str(2**62)] * 200_000)
    raw = f'{{"a":{{"dtype":"F16","shape":[{sides}],"data_offsets":[0,12]}}}}'.encode()
    assert "its offsets give it 12 bytes" in refusal(write(file, raw))


@pytest.mark.parametrize(
    "raw",
    [
        rb'{"x":{"dtype":"F16","shape":[0],"data_offsets":[0,0]},"\u0078":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}}',
        rb'{"x":{"dtype":"F16","\u0064type":"F32","shape":[0],"data_offsets":[0,0]}}',
    ],
)
def test_a_key_that_stands_twice_in_two_spellings_is_noticed(file: Path, raw: bytes) -> None:
    assert "twice" in refusal(write(file, raw, b""))


def test_notes_that_talk_about_tensors_do_not_disturb(file: Path) -> None:
    notes = {"a": '"dtype" "shape" "data_offsets"', "b": json.dumps({"dtype": [1], "ü": "\x00"})}
    header = read_header(write(file, {"__metadata__": notes, "a": entry()}))
    assert header.metadata == notes
    assert header.tensors["a"].shape == (2, 3)


def test_truncated_data_are_noticed(file: Path) -> None:
    data = save({"a": np.zeros((64,), "float32")})
    file.write_bytes(data[:-10])
    assert "ends at byte 256, but only 246 are there" in refusal(file)


def test_data_after_the_last_tensor_are_noticed(file: Path) -> None:
    file.write_bytes(save({"a": np.zeros((64,), "float32")}) + b"more")
    assert "holds 260 bytes of data, but its tensors need 256" in refusal(file)


def test_tensors_that_overlap_are_refused(file: Path) -> None:
    write(file, {"a": entry(), "b": entry(offsets=[6, 18])}, b"\0" * 18)
    assert "overlaps" in refusal(file)


def test_a_gap_between_tensors_is_refused(file: Path) -> None:
    write(file, {"a": entry(), "b": entry(offsets=[14, 26])}, b"\0" * 26)
    assert "gap" in refusal(file)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (entry(dtype="F17"), "unknown dtype 'F17'"),
        (entry(dtype="F32"), "its offsets give it 12 bytes"),
        (entry(shape=[2, 4]), "its offsets give it 12 bytes"),
        (entry(shape=[2**62, 2**62]), "its offsets give it 12 bytes"),
        (entry(shape=[-2, -3]), "whole numbers"),
        (entry(shape=[True, 6]), "whole numbers"),
        (entry(shape=[2.0, 3]), "whole numbers"),
        (entry(shape="ab"), "whole numbers"),
        (entry(shape=[10**4000]), "whole numbers"),
        (entry(offsets=[12, 0]), "[begin, end]"),
        (entry(offsets=[0, 12, 24]), "[begin, end]"),
        (entry(offsets=[0, 2**70]), "[begin, end]"),
        ({"dtype": "F16", "shape": [2, 3]}, "lacks its dtype"),
        (7, "lacks its dtype"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_named(file: Path, bad: object, says: str) -> None:
    message = refusal(write(file, {"the.tensor": bad}))
    assert "'the.tensor'" in message
    assert says in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": 1', "is not JSON"),
        (b"[1, 2]", "is not a JSON object"),
        (b'{"\xff": 1}', "is not UTF-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"9" * 10_000 + b"}", "is not JSON"),
        (b'{"__metadata__": {"a": 1}}', "__metadata__"),
        (b'{"__metadata__": 3}', "__metadata__"),
        (b'{"x": {"dtype":"F16","shape":[0],"data_offsets":[0,0]}, "x": 2}', "'x' twice"),
        (b'{"x": {"dtype":"F16","dtype":"F32","shape":[0],"data_offsets":[0,0]}}', "'dtype' twice"),
    ],
)
def test_a_header_of_the_wrong_form_is_refused(file: Path, raw: bytes, says: str) -> None:
    assert says in refusal(write(file, raw, b""))


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"GGUF\x03\0\0\0\0\0\0\0", "GGUF"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(file: Path, start: bytes, says: str) -> None:
    file.write_bytes(start)
    assert says in refusal(file)


def pickles() -> dict[str, bytes]:
    torch_zip = b"PK\x03\x04" + b"\0" * 60
    return {
        "a zip archive": torch_zip,
        "a pickle": b"\x80\x02}q\x00." + b"\0" * 60,
        "a short pickle": b"\x80\x04N.",
    }


@pytest.mark.parametrize("what", list(pickles()))
def test_a_pickle_renamed_to_safetensors_is_refused_unread_with_the_way_to_convert_it(
    file: Path, what: str
) -> None:
    file.write_bytes(pickles()[what])
    with pytest.raises(PickledModel) as caught:
        read_header(file)
    assert caught.value.code == "catalog.pickle"
    assert what.replace("short ", "") in caught.value.message
    assert caught.value.hint is not None
    assert "weights_only=True" in caught.value.hint
    assert shlex.quote(str(file)) in caught.value.hint


@pytest.mark.slow
def test_the_command_in_the_hint_really_converts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    wrong = tmp_path / "it's a model.safetensors"
    shared = torch.ones(2, 3)
    torch.save({"state_dict": {"w": shared, "tied": shared, "epoch": 3}}, wrong)
    with pytest.raises(PickledModel) as caught:
        read_header(wrong)
    assert caught.value.hint is not None
    command = shlex.split(caught.value.hint.partition("convert it with:")[2])
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, timeout=120)
    converted = tmp_path / "it's a model-converted.safetensors"
    assert {key: tensor.shape for key, tensor in read_header(converted).tensors.items()} == {
        "w": (2, 3),
        "tied": (2, 3),
    }


# Fixtures are shared by all examples of one test: the file is written anew by each.
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
ALLOWED_BYTES_PER_BYTE = 100
ALLOWED_BYTES = 4 * 1024 * 1024


def read_bounded(path: Path) -> None:
    """Read; whatever is wrong is ours to say, and memory stays in proportion. What we take for sound,
    the real library loads."""
    said: InglenookError | None = None
    tracemalloc.start()
    try:
        header = read_header(path)
        end = max((tensor.end for tensor in header.tensors.values()), default=0)
        assert 8 + len(header.raw) + end == path.stat().st_size
    except InglenookError as error:
        said = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert said is None or (said.code in {"catalog.corrupt", "catalog.pickle"} and len(said.message) < 1000)
    if said is None:
        deserialize(path.read_bytes())
    assert peak < ALLOWED_BYTES + ALLOWED_BYTES_PER_BYTE * path.stat().st_size


@fuzz
@given(noise=st.binary(max_size=300))
@example(noise=b"\xff" * 8)
@example(noise=b"\0" * 8)
@example(noise=b"\x80\x02")
def test_noise_raises_nothing_but_our_errors_and_takes_little_memory(file: Path, noise: bytes) -> None:
    file.write_bytes(noise)
    read_bounded(file)


@fuzz
@given(header=st.binary(max_size=300), data=st.binary(max_size=20))
def test_a_header_of_noise_raises_nothing_but_our_errors(file: Path, header: bytes, data: bytes) -> None:
    file.write_bytes(raw_safetensors(header, data))
    read_bounded(file)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "BOOL", "F4", "X"]) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(-1, 40), max_size=3) | json_values,
    },
)


@fuzz
@given(
    document=st.dictionaries(st.text(max_size=4), tensors | json_values, max_size=4), size=st.integers(0, 40)
)
def test_a_header_of_nearly_the_right_form_raises_nothing_but_our_errors(
    file: Path, document: object, size: int
) -> None:
    write(file, document, b"\0" * size)
    read_bounded(file)


@fuzz
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_a_real_file_with_one_byte_changed_and_the_end_cut_raises_nothing_but_our_errors(
    file: Path, position: int, byte: int, cut: int
) -> None:
    data = bytearray(save({"a": np.zeros((4, 4), "float16"), "b": np.ones((3,), "float32")}, {"note": "x"}))
    data[position % len(data)] = byte
    file.write_bytes(data[: max(1, len(data) - cut % len(data))])
    read_bounded(file)
