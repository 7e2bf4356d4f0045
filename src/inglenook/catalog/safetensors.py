# SPDX-License-Identifier: Apache-2.0
"""Reading the header of a `.safetensors` file, and refusing every header that does not fit its file.

    ┌──────────────┬──────────────────────┬─────────────────────────┐
    │ 8 bytes: N,  │ N bytes: JSON, padded│ the tensors' bytes, one │
    │ little-endian│ with spaces          │ after another, no gaps  │
    └──────────────┴──────────────────────┴─────────────────────────┘

The JSON maps a tensor's name to its `dtype`, `shape` and `data_offsets` (begin, end; relative to the end of
the header); `__metadata__` maps text to text. Only the header is read, never the tensors: a 12 GB file costs
as much as its header, and time and memory stay in proportion to the header's length, which is bounded.

There are two ways through the JSON, which say the same of every header: a fast one, which takes what a sound
header looks like and nothing else, and a careful one, which takes anything and says what is wrong with it.
"""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

from inglenook.catalog.errors import CorruptModel, pickled

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
MAX_TENSORS = 100_000
"""As many are read of one file: thirty times what the largest models have."""
MAX_READ_BYTES = 32 * 1024 * 1024
"""As long a header is read: `MAX_TENSORS` with names of 200 letters, or the notes of a long training."""

_LENGTH_BYTES = 8
_MANY_SIDES = 64
"""Beyond it a product may grow without end, which only the careful way stops in time."""

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one scalar, for every type that the format knows."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor as the header declares it.

    Attributes:
        dtype: a key of `DTYPE_BITS`.
        data_offsets: (begin, end) in bytes from the end of the header: as many as dtype and shape need.
    """

    dtype: str
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]

    @property
    def begin(self) -> int:
        return self.data_offsets[0]

    @property
    def end(self) -> int:
        return self.data_offsets[1]

    @property
    def size_bytes(self) -> int:
        return self.data_offsets[1] - self.data_offsets[0]

    @property
    def scalars(self) -> int:
        return self.size_bytes * 8 // DTYPE_BITS[self.dtype]


@dataclass(frozen=True, slots=True)
class Header:
    """A header that fits its file. `raw` is the JSON as it stands in the file, with its padding; `data_bytes`
    is what all tensors take together."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    raw: bytes
    data_bytes: int


def read_header(path: Path) -> Header:
    """Read and check the header of one file.

    Raises:
        CorruptModel: the file is no sound safetensors file; the message says where it breaks.
        PickledModel: it is a PyTorch pickle or zip under a wrong name.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file_size = file.seek(0, 2)
        file.seek(0)
        raw = _raw_header(file, path, file_size)
    return parse_header(raw, data_bytes=file_size - _LENGTH_BYTES - len(raw), name=path.name)


def _raw_header(file: BinaryIO, path: Path, file_size: int) -> bytes:
    start = file.read(64)
    if not start:
        raise CorruptModel(
            f"{path.name} is empty (0 bytes).", hint="the download or copy did not finish; fetch it again"
        )
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if len(start) <= _LENGTH_BYTES or start[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
        _refuse_other_formats(start, path)
    if len(start) < _LENGTH_BYTES:
        raise CorruptModel(
            f"{path.name} has {file_size} bytes; a safetensors file starts with 8 bytes of header length."
        )
    if length > MAX_HEADER_BYTES:
        _refuse_other_formats(start, path)
        raise CorruptModel(
            f"{path.name} declares a header of {length} bytes; the format allows {MAX_HEADER_BYTES}.",
            hint="it is damaged, or not a safetensors file",
        )
    if length > file_size - _LENGTH_BYTES:
        raise CorruptModel(
            f"{path.name} declares a header of {length} bytes, but only {file_size - _LENGTH_BYTES} follow.",
            hint="the file is cut off; fetch it again",
        )
    if length > MAX_READ_BYTES:
        raise CorruptModel(
            f"{path.name} has a header of {length} bytes; at most {MAX_READ_BYTES} are read.",
            hint="no model needs as many: do not use the file, or save it again without its notes",
        )
    file.seek(_LENGTH_BYTES)
    raw = file.read(length)
    if len(raw) != length:
        raise CorruptModel(
            f"{path.name} became shorter while it was read.", hint="wait until the copy has finished"
        )
    return raw


def _refuse_other_formats(start: bytes, path: Path) -> None:
    """Name what the file is instead, where its first bytes tell."""
    if start.startswith(b"PK\x03\x04"):
        raise pickled(path, "a zip archive")
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise pickled(path, "a pickle")
    text = start.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        raise CorruptModel(
            f"{path.name} is a Git LFS pointer, not the file it points to.", hint="run `git lfs pull`"
        )
    if text.startswith((b"<!doctype", b"<html")):
        raise CorruptModel(
            f"{path.name} is a web page, not a model.",
            hint="the download answered with a page, often a login; fetch it again",
        )
    if start.startswith(b"GGUF"):
        raise CorruptModel(f"{path.name} is a GGUF file under another name.", hint="rename it to .gguf")


def parse_header(raw: bytes, *, data_bytes: int, name: str) -> Header:
    """Check a header against the number of bytes that follow it. `name` is for messages.

    Raises:
        CorruptModel: not JSON of the right form, a key twice, an unknown dtype, a size that is not shape
            times dtype, a gap, an overlap, data that end before or after the last tensor, or more than
            `MAX_TENSORS` tensors.
    """
    _check_count(raw, name)
    found = _fast(raw)
    if found is None:
        document = _load_json(raw, name)
        metadata = _metadata(document.pop("__metadata__", {}), name)
        found = {key: _tensor(key, value, name) for key, value in document.items()}, metadata
    tensors, metadata = found
    _check_layout(tensors, data_bytes, name)
    return Header(tensors=tensors, metadata=metadata, raw=raw, data_bytes=data_bytes)


def _check_count(raw: bytes, name: str) -> None:
    """Refuse a header of too many tensors before anything is made of it, and one of too many values of any
    kind: brackets and colons in a trainer's notes count as well, of which no file has nearly as many."""
    count = raw.count(b'"data_offsets"')
    if count > MAX_TENSORS:
        raise CorruptModel(
            f"{name} declares {count} tensors; at most {MAX_TENSORS} are read.",
            hint="no model has as many: do not use the file",
        )
    if max(raw.count(b"["), raw.count(b"{"), raw.count(b'":') // 4) > 3 * MAX_TENSORS:
        raise CorruptModel(f"The header of {name} holds more values than {MAX_TENSORS} tensors need.")


_split = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(dict[str, str])
_one = msgspec.json.Decoder(Tensor)


def _fast(raw: bytes) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and metadata of a header without a fault; None where there may be one.

    A key that stands twice shows in the count of the fields, unless it is spelled with escapes: a header with
    escaped ASCII goes the careful way.
    """
    if b"\\u00" in raw:
        return None
    try:
        values = _split.decode(raw)
        metadata = _text.decode(values.pop("__metadata__", msgspec.Raw(b"{}")))
        tensors = {key: _one.decode(value) for key, value in values.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    fields = (raw.count(b'"dtype"'), raw.count(b'"shape"'), raw.count(b'"data_offsets"'))
    if fields != (len(tensors),) * 3 or not all(map(_is_sound, tensors.values())):
        return None
    return tensors, metadata


def _is_sound(tensor: Tensor) -> bool:
    begin, end = tensor.data_offsets
    bits = DTYPE_BITS.get(tensor.dtype)
    if bits is None or begin > end or len(tensor.shape) > _MANY_SIDES:
        return False
    for side in tensor.shape:
        bits *= side
    return bits == (end - begin) * 8


def _load_json(raw: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except _DuplicateKey as error:
        raise CorruptModel(f"The header of {name} holds the key {_short(error.key)} twice.") from None
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError, a too long number
        raise CorruptModel(f"The header of {name} is not JSON: {_reason(error)}.") from None
    if not isinstance(document, dict):
        raise CorruptModel(f"The header of {name} is not a JSON object.")
    return document


class _DuplicateKey(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(key)
            seen.add(key)
    return found


def _metadata(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise CorruptModel(f"The header of {name} has a __metadata__ that does not map text to text.")
    return value


def _tensor(key: str, value: Any, name: str) -> Tensor:
    if not isinstance(value, dict) or not {"dtype", "shape", "data_offsets"} <= value.keys():
        raise CorruptModel(f"Tensor {_short(key)} of {name} lacks its dtype, shape or data_offsets.")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise CorruptModel(f"Tensor {_short(key)} of {name} has the unknown dtype {_short(dtype)}.")
    if not _are_counts(shape):
        raise CorruptModel(
            f"Tensor {_short(key)} of {name} has the shape {_short(shape)}; sides are whole numbers from 0."
        )
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CorruptModel(
            f"Tensor {_short(key)} of {name} has the offsets {_short(offsets)}; they are [begin, end]."
        )
    tensor = Tensor(dtype, tuple(shape), (offsets[0], offsets[1]))
    if not _size_fits(tensor):
        raise CorruptModel(
            f"Tensor {_short(key)} of {name} is {dtype} {_short(shape)}, "
            f"but its offsets give it {tensor.size_bytes} bytes."
        )
    return tensor


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _size_fits(tensor: Tensor) -> bool:
    """Whether shape times dtype is the tensor's place, without ever multiplying beyond it."""
    bits = DTYPE_BITS[tensor.dtype]
    if 0 in tensor.shape:
        return tensor.size_bytes == 0
    for side in tensor.shape:
        bits *= side
        if bits > tensor.size_bytes * 8:
            return False
    return bits == tensor.size_bytes * 8


def _check_layout(tensors: Mapping[str, Tensor], data_bytes: int, name: str) -> None:
    expected = 0
    for key, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if end > data_bytes:
            raise CorruptModel(
                f"Tensor {_short(key)} of {name} ends at byte {end}, but only {data_bytes} are there.",
                hint="the file is cut off; fetch it again",
            )
        if begin != expected:
            what = "overlaps the tensor before it" if begin < expected else "leaves a gap before it"
            raise CorruptModel(
                f"Tensor {_short(key)} of {name} begins at byte {begin}, where {expected} is due: it {what}."
            )
        expected = end
    if expected != data_bytes:
        raise CorruptModel(f"{name} holds {data_bytes} bytes of data, but its tensors need {expected}.")


_repr = reprlib.Repr()
_repr.maxlist = _repr.maxdict = _repr.maxlevel = 8
_repr.maxstring = _repr.maxother = _repr.maxlong = 80


def _short(value: object) -> str:
    """A value from the file for a message: bounded, however long or deep the value is."""
    return _repr.repr(value)[:200]


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return str(error)[:120]
