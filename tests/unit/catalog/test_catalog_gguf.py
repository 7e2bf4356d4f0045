# SPDX-License-Identifier: Apache-2.0
"""Headers of GGUF files: what is read of them, and that nothing in them can make reading dear."""

import contextlib
import struct
import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests import gguf_files

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.forward import CHUNK_BYTES, MAX_HEADER_BYTES
from inglenook.catalog.gguf import (
    MAX_FIELDS,
    MAX_KEPT_BYTES,
    MAX_KEPT_VALUES,
    MAX_TENSORS,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    read_gguf,
)

U8, U32, F32, BOOL, TEXT, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
MIB = 1024 * 1024


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def word(key: str, value: str | bytes) -> bytes:
    return text(key) + struct.pack("<I", TEXT) + text(value)


def number(key: str, value: int = 7) -> bytes:
    return text(key) + struct.pack("<II", U32, value)


def array(key: str, kind: int, count: int, data: bytes) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, kind, count) + data


def tensor(name: str, *sides: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


def made(*fields: bytes, tensors: tuple[bytes, ...] = (), data: int = 0, version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(fields)) + b"".join(fields + tensors)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data


def claimed(tensors: int = 0, fields: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + rest


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], object]:
    def reading(data: bytes) -> object:
        path = tmp_path / "m.gguf"
        path.write_bytes(data)
        return read_gguf(path)

    return reading


Read = Callable[[bytes], gguf_files.Any]


# what is read


def test_a_file_of_the_real_package_is_read_field_by_field_and_tensor_by_tensor(tmp_path: Path) -> None:
    path = gguf_files.write_llama(tmp_path / "tiny.gguf")
    theirs, ours = gguf.GGUFReader(path), read_gguf(path)
    assert {one.name: (list(one.shape), one.tensor_type.name, one.n_bytes) for one in theirs.tensors} == {
        name: (list(one.sides), one.type, one.size_bytes) for name, one in ours.tensors.items()
    }
    assert {one.name: one.data_offset for one in theirs.tensors} == {
        name: ours.data_start + one.offset for name, one in ours.tensors.items()
    }
    kept = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    tokens = kept.pop("tokenizer.ggml.tokens")
    assert ours.lengths["tokenizer.ggml.tokens"] == len(tokens)
    assert {
        name: list(value) if isinstance(value, tuple) else value for name, value in ours.fields.items()
    } == kept
    assert ours.data_start + ours.data_bytes == path.stat().st_size
    assert ours.fault is None


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_are_read(read: Read, version: int) -> None:
    header = read(made(word("general.architecture", "llama"), number("llama.block_count"), version=version))
    assert (header.version, header.text("general.architecture"), header.number("llama.block_count")) == (
        version,
        "llama",
        7,
    )


def test_every_type_of_a_value_is_read(read: Read) -> None:
    kinds = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    fields = [text(f"k{kind}") + struct.pack(f"<I{form}", kind, 1) for kind, form in kinds.items()]
    assert read(made(*fields)).fields == {f"k{kind}": 1 for kind in kinds}


def test_numbers_are_whole_and_never_negative(read: Read) -> None:
    layers = array("a", 5, 3, struct.pack("<3i", 4, -2, 8))
    header = read(made(layers, text("n") + struct.pack("<Ii", 5, -3), word("t", "twelve")))
    assert (header.numbers("a"), header.number("a")) == ((4, 0, 8), 8)
    assert [header.number(name) for name in ("n", "t", "missing")] == [0, 0, 0]


def test_long_arrays_are_passed_over_and_counted(read: Read) -> None:
    many = MAX_KEPT_VALUES + 1
    words = b"".join(text(f"w{place}") for place in range(many))
    header = read(
        made(array("types", 5, many, b"\1\0\0\0" * many), array("merges", TEXT, many, words), number("after"))
    )
    assert header.lengths == {"types": many, "merges": many}
    assert header.fields == {"after": 7}


def test_a_text_is_kept_up_to_a_sane_size(read: Read) -> None:
    template = "x" * MAX_TEXT_BYTES
    header = read(
        made(word("tokenizer.chat_template", template), word("longer", template + "y"), number("after"))
    )
    assert header.text("tokenizer.chat_template") == template
    assert "longer" not in header.fields
    assert header.number("after") == 7


def test_all_texts_together_are_kept_up_to_a_limit(read: Read) -> None:
    texts = [word(f"t{place}", "x" * MAX_TEXT_BYTES) for place in range(MAX_KEPT_BYTES // MAX_TEXT_BYTES + 3)]
    header = read(made(*texts, number("after")))
    assert len(header.fields) == MAX_KEPT_BYTES // MAX_TEXT_BYTES + 1
    assert header.number("after") == 7


def test_a_tokenizer_s_words_leave_marks_that_tell_how_far_two_are_the_same(read: Read) -> None:
    def marks(words: list[str]) -> tuple[int, ...]:
        tokens = array("tokenizer.ggml.tokens", TEXT, len(words), b"".join(text(one) for one in words))
        return read(made(tokens)).token_marks  # type: ignore[no-any-return]

    words = [f"word {place}" for place in range(3000)]
    same = marks(words)
    assert len(same) == 3
    assert marks(["<s>", *words[1:]]) == same, "the first five may differ"
    assert marks([*words, "more"])[:2] == same[:2]
    assert marks([*words[:1500], "other", *words[1501:]])[0] == same[0]
    assert marks([*words[:1500], "other", *words[1501:]])[1] != same[1]


def test_words_across_the_window_s_edge_are_passed_over_whole(read: Read) -> None:
    lengths = [*[30] * MAX_KEPT_VALUES, CHUNK_BYTES - 90, 30, 0, 3 * CHUNK_BYTES, 7, CHUNK_BYTES - 8, 5, 1]
    words = b"".join(text(b"x" * length) for length in lengths)
    for before in range(0, 100, 9):
        header = read(made(word("pad", "x" * before), array("a", TEXT, len(lengths), words), number("after")))
        assert header.lengths["a"] == len(lengths)
        assert header.number("after") == 7


def test_the_digest_is_the_header_s(read: Read) -> None:
    plain = made(number("a"), tensors=(tensor("t", 4),), data=16)
    assert read(plain).digest == read(plain[:-16] + b"\1" * 16).digest
    assert read(plain).digest != read(made(number("a", 8), tensors=(tensor("t", 4),), data=16)).digest


# what is refused


HOSTILE = {
    "empty": (b"", "is empty"),
    "another format": (b"GGML" + b"\0" * 20, "does not begin"),
    "only the magic": (b"GGUF\3", "ends inside"),
    "version 1": (made(version=1), "version 1"),
    "version 9": (made(version=9), "version 9"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "2^63 fields": (claimed(fields=2**63), f"9223372036854775808 fields; at most {MAX_FIELDS}"),
    "2^63 tensors": (claimed(tensors=2**63), f"9223372036854775808 tensors; at most {MAX_TENSORS}"),
    "more fields than bytes": (claimed(fields=1000), "announces 1000 fields, but has 0 bytes left"),
    "more tensors than bytes": (claimed(tensors=1000), "announces 1000 tensors"),
    "a name of 2^63": (
        claimed(fields=1, rest=struct.pack("<Q", 2**63) + b"x" * 100),
        "a name of 9223372036854775808",
    ),
    "a name past the end": (
        claimed(fields=1, rest=struct.pack("<Q", 900) + b"x" * 100),
        "should have 900 more",
    ),
    "a text of 2^64 - 1": (
        made(text("k") + struct.pack("<IQ", TEXT, 2**64 - 1)),
        "18446744073709551615 more",
    ),
    "an array of 2^63": (made(array("k", U32, 2**63, b"")), "ends inside"),
    "an array of 2^63 texts": (made(array("k", TEXT, 2**63, b"")), "announces 9223372036854775808 texts"),
    "2^63 tokens": (made(array("tokenizer.ggml.tokens", TEXT, 2**63, b"")), "9223372036854775808 texts"),
    "a text in an array past the end": (
        made(array("k", TEXT, 3000, (text("a") * 2999) + struct.pack("<Q", 2**62))),
        "ends inside",
    ),
    "an array of arrays": (made(array("k", ARRAY, 1, struct.pack("<IQ", U32, 0))), "an array of arrays"),
    "a value of no type": (made(text("k") + struct.pack("<I", 13) + b"\0" * 20), "type 13"),
    "a field twice": (made(number("k"), number("k")), "field 'k' twice"),
    "an array twice": (made(array("k", U32, 0, b""), number("k")), "field 'k' twice"),
    "a tensor twice": (
        made(tensors=(tensor("t", 4), tensor("t", 4, offset=32)), data=64),
        "tensor 't' twice",
    ),
    "five sides": (made(tensors=(tensor("t", 1, 1, 1, 1, 1),), data=64), "5 sides"),
    "2^32 - 1 sides": (
        made(tensors=(text("t") + struct.pack("<I", 2**32 - 1) + b"\0" * 40,)),
        "4294967295 sides",
    ),
    "a type from the future": (
        made(tensors=(tensor("t", 256, kind=99),), data=64),
        "type 99, which is not known",
    ),
    "a type of the past": (made(tensors=(tensor("t", 256, kind=31),), data=64), "Q4_0_4_4.*reads no more"),
    "half a block": (made(tensors=(tensor("t", 100, kind=12),), data=99), "rows of 100.*blocks of 256"),
    "an alignment of 0": (made(number("general.alignment", 0)), "general.alignment of 0"),
    "an alignment of 48": (made(number("general.alignment", 48)), "general.alignment of 48"),
    "an alignment in words": (made(word("general.alignment", "32")), "general.alignment"),
    "a long tensor's name": (made(tensors=(tensor("t" * 200, 4),), data=64), "a name of 200 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_cannot_be_is_refused_with_what_is_wrong(read: Read, name: str) -> None:
    data, says = HOSTILE[name]
    with pytest.raises(CorruptModel, match=says):
        read(data)


FAULTS = {
    "cut off": (made(tensors=(tensor("t", 64),), data=100), "tensors need 256 bytes, and 100 are there"),
    "terabytes": (made(tensors=(tensor("t", 2**40, 4),), data=100), "need 17592186044416 bytes, and 100"),
    "2^64 sides": (made(tensors=(tensor("t", *[2**64 - 1] * 4),), data=100), "is cut off"),
    "far away": (made(tensors=(tensor("t", 4, offset=2**62),), data=100), "is cut off"),
    "overlapping": (
        made(tensors=(tensor("a", 64), tensor("b", 4, offset=128)), data=512), "'b' at 128, inside 'a'"
    ),
    "the same place": (made(tensors=(tensor("a", 4), tensor("b", 4)), data=512), "inside"),
    "off the grid": (made(tensors=(tensor("a", 4, offset=16),), data=512), "at 16.*no multiple of 32"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_tensors_that_cannot_lie_there_are_a_fault_and_the_header_is_known(read: Read, name: str) -> None:
    data, says = FAULTS[name]
    header = read(data)
    with pytest.raises(CorruptModel, match=says):
        raise header.fault


def test_an_alignment_of_its_own_moves_the_data(read: Read) -> None:
    data = made(number("general.alignment", 4096), tensors=(tensor("a", 4), tensor("b", 4, offset=4096)))
    header = read(data + b"\0" * (4096 + 4096 + 16 - len(data)))
    assert (header.data_start, header.data_bytes, header.fault) == (4096, 4112, None)


def test_a_tensor_without_values_needs_no_room(read: Read) -> None:
    header = read(made(tensors=(tensor("a", 0, 5), tensor("b"), tensor("c", 4, offset=32)), data=48))
    assert [one.size_bytes for one in header.tensors.values()] == [0, 4, 16]
    assert header.fault is None


# nothing makes it dear


@cache
def tiny() -> bytes:
    """A whole small file: its tensors are short, so that every byte of it can be cut off in turn."""
    return made(
        word("general.architecture", "llama"),
        array("llama.attention.head_count_kv", 5, 3, struct.pack("<3i", 1, 2, 3)),
        array("tokenizer.ggml.tokens", TEXT, 8, b"".join(text(letter) for letter in "abcdefgh")),
        text("x") + struct.pack("<If", F32, 1.0),
        text("y") + struct.pack("<I?", BOOL, True),
        text("z") + struct.pack("<IQ", U64, 2**63),
        tensors=(tensor("a", 32, 2, kind=2), tensor("b", 4, offset=64)),
        data=80,
    )


def test_a_file_cut_off_at_any_byte_says_so(read: Read) -> None:
    whole = tiny()
    assert read(whole).fault is None
    for length in range(len(whole)):
        try:
            fault = read(whole[:length]).fault
        except CorruptModel as error:
            fault = error
        assert fault is not None
        assert any(says in str(fault) for says in ("ends inside", "is cut off", "is empty", "does not begin"))


def peak_bytes(path: Path) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(CorruptModel):
            read_gguf(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_a_header_claims_is_never_allocated(tmp_path: Path) -> None:
    """Sparse files of many gigabytes, so that the claims are true and nothing refuses them early."""
    tokens = struct.pack("<I", ARRAY)
    claims = {
        "numbers": text("k") + tokens + struct.pack("<IQ", U8, 2**36),
        "a text": text("k") + struct.pack("<IQ", TEXT, 2**36),
        "empty texts": text("k") + tokens + struct.pack("<IQ", TEXT, 100_000),
        "tokens": text("tokenizer.ggml.tokens") + tokens + struct.pack("<IQ", TEXT, 2**33),
        "long texts": text("k") + tokens + struct.pack("<IQQ", TEXT, MAX_TEXTS, 2**35),
    }
    for name, claim in claims.items():
        path = tmp_path / "m.gguf"
        with path.open("wb") as file:
            file.write(claimed(fields=1, rest=claim))
            file.truncate(2**37)
        assert peak_bytes(path) < 6 * MIB, name


def test_many_fields_and_tensors_cost_memory_in_proportion_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    fields = [number(f"k{place}") for place in range(MAX_FIELDS // 8)]
    tensors = tuple(tensor(f"t{place}", 0) for place in range(MAX_TENSORS // 8))
    path.write_bytes(made(*fields, tensors=tensors))
    assert peak_bytes(path) < 20 * path.stat().st_size


def test_a_header_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(claimed(fields=1, rest=array("k", U8, 2 * MAX_HEADER_BYTES, b"")))
        file.truncate(3 * MAX_HEADER_BYTES)
    with pytest.raises(CorruptModel, match=f"more than {MAX_HEADER_BYTES} bytes"):
        read_gguf(path)


def test_a_quarter_of_a_million_words_are_passed_over_quickly(read: Read) -> None:
    words = b"".join(text(f"word {place}") for place in range(256_000))
    data = made(
        array("tokenizer.ggml.tokens", TEXT, 256_000, words), array("scores", F32, 256_000, b"\0" * 1_024_000)
    )
    began = time.process_time()
    header = read(data)
    assert header.lengths["tokenizer.ggml.tokens"] == 256_000
    assert time.process_time() - began < 1.5, "some 50 ms; this bound is for slow machines"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_raises_nothing_but_our_error(read: Read, noise: bytes) -> None:
    for begin in (b"", b"GGUF", claimed()[:8], claimed(1, 1)):
        with contextlib.suppress(CorruptModel):
            read(begin + noise)


@cache
def real_header() -> bytes:
    """Of a file that the real package wrote, with its tokenizer."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = gguf_files.write_llama(Path(folder) / "tiny.gguf", shape=gguf_files.Shape(layers=1))
        return path.read_bytes()[: read_gguf(path).data_start]


MUTATIONS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=9),
            st.sampled_from([struct.pack("<Q", value) for value in (0, 2**31, 2**32 - 1, 2**63, 2**64 - 1)]),
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(mutations=MUTATIONS, cut=st.floats(0, 1))
def test_a_real_header_with_bytes_changed_is_read_or_refused(
    read: Read, mutations: list[tuple[float, bytes]], cut: float
) -> None:
    data = bytearray(real_header())
    for place, change in mutations:
        begin = int(place * len(data))
        data[begin : begin + len(change)] = change
    for one in (bytes(data), bytes(data[: int(cut * len(data))])):
        with contextlib.suppress(CorruptModel):
            header = read(one)
            assert sum(len(str(value)) for value in header.fields.values()) < 4 * len(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sides=st.lists(st.integers(1, 5), max_size=4),
    kind=st.sampled_from([2, 8, 12, 30, 39]),
    count=st.integers(1, 4),
    short=st.integers(0, 1),
)
def test_sizes_are_those_of_ggml(read: Read, sides: list[int], kind: int, count: int, short: int) -> None:
    """Against the package's own table; the file is long enough, or one byte too short."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    full = [sides[0] * block, *sides[1:]] if sides else [block]
    each = int(np.prod(full, dtype=object)) // block * size
    step = -(-each // 32) * 32
    tensors = tuple(tensor(f"t{place}", *full, kind=kind, offset=place * step) for place in range(count))
    data = made(tensors=tensors, data=(count - 1) * step + each)
    header = read(data[: len(data) - short])
    assert all(one.size_bytes == each for one in header.tensors.values())
    assert (header.fault is not None) == (short == 1)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(mutations=MUTATIONS, cut=st.floats(0, 1))
def test_the_starter_s_header_with_bytes_changed_is_read_or_refused(
    read: Read, starter_header: bytes, mutations: list[tuple[float, bytes]], cut: float
) -> None:
    """Its first 4 KiB are hit as often as the rest: numbers and names stand there, behind are words."""
    data = bytearray(starter_header)
    for number, (place, change) in enumerate(mutations):
        begin = int(place * (4096 if number % 2 else len(data)))
        data[begin : begin + len(change)] = change
    for one in (bytes(data), bytes(data[: int(cut * len(data))])):
        with contextlib.suppress(CorruptModel):
            read(one)


@pytest.fixture(scope="module")
def starter_header(chat_model: Path) -> bytes:
    with chat_model.open("rb") as file:
        return file.read(read_gguf(chat_model).data_start)


@pytest.mark.slow
def test_the_starter_s_header_is_read_in_milliseconds(chat_model: Path) -> None:
    took = []
    for _ in range(5):
        began = time.process_time()
        header = read_gguf(chat_model)
        took.append(time.process_time() - began)
    assert (header.lengths["tokenizer.ggml.tokens"], len(header.tensors), header.fault) == (49_152, 272, None)
    assert min(took) < 0.25, "some 20 ms; this bound is for slow machines"
