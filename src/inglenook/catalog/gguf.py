# SPDX-License-Identifier: Apache-2.0
"""Reading the header of a `.gguf` file, and refusing every header that does not fit its file.

    ┌──────┬─────────┬─────────┬────────┬───────────────────┬──────────────────────────────┬─────────┬──────┐
    │ GGUF │ version │ tensors │ fields │ fields: name,     │ tensors: name, sides, type,  │ padding │ data │
    │      │ u32     │ u64     │ u64    │ type, value       │ offset in the data           │         │      │
    └──────┴─────────┴─────────┴────────┴───────────────────┴──────────────────────────────┴─────────┴──────┘

All numbers are little-endian; a text is its length (u64) and its bytes; an array is its type (u32), its
length (u64) and its values. Only the header is read, once and forwards; what it claims is never allocated.
Long texts and arrays (a tokenizer has hundreds of thousands of words) are passed over; how long an array is,
is kept. Versions 2 and 3 differ in nothing that is read here; big-endian files are refused.
"""

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.forward import Window
from inglenook.catalog.ggml import REMOVED, TYPES

MAX_FIELDS: Final = 4096
MAX_TENSORS: Final = 65_536
MAX_NAME_BYTES: Final = 1024
"""Of a field; the format allows 65,535."""
MAX_TENSOR_NAME_BYTES: Final = 127
"""ggml's own limit is 63."""
MAX_SIDES: Final = 4
MAX_TEXT_BYTES: Final = 256 * 1024
"""A longer text is passed over. The longest chat templates have some 30 KiB."""
MAX_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of all texts and arrays together."""
MAX_KEPT_VALUES: Final = 2048
"""A longer array is passed over: what is said layer by layer is kept, a tokenizer is not."""
MAX_TEXTS: Final = 2_000_000
"""In arrays of one file."""
MARKED_TEXTS: Final = 1024
TOKENS: Final = "tokenizer.ggml.tokens"
UNMARKED_TOKENS: Final = 5
"""The first tokens stand for beginnings and ends, and a smaller model of a kind may call them otherwise."""
DEFAULT_ALIGNMENT: Final = 32

Value = int | float | bool | str | tuple[int | float | bool | str, ...]

_HEAD: Final = struct.Struct("<IQQ")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_U32_U64: Final = struct.Struct("<IQ")
_BOOL, _TEXT, _ARRAY = 7, 8, 9
_FORMS: Final[Mapping[int, struct.Struct]] = {
    kind: struct.Struct(f"<{code}")
    for kind, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
"""Values of one size, by the number of their type."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """Attributes:
    sides: columns first, as ggml writes them.
    type: a name of `ggml.TYPES`.
    offset: bytes from the beginning of the data.
    """

    sides: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int

    @property
    def scalars(self) -> int:
        count = 1
        for side in self.sides:
            count *= side
        return count


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A header that fits its file.

    Attributes:
        fields: without arrays and texts that were passed over.
        lengths: of every array, also of those.
        token_marks: a checksum of each `MARKED_TEXTS` of the tokenizer's words in order, from the
            `UNMARKED_TOKENS`th on: two tokenizers have a beginning in common as far as these are equal.
        data_start: where the tensors' bytes begin in the file; data_bytes: up to the last tensor's end.
        digest: SHA-256 of the header.
        fault: why the tensors cannot be where the header says: the file is cut off, or they overlap. Such a
            file cannot be used, but what it would be is known.
    """

    version: int
    fields: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensors: Mapping[str, GgufTensor]
    token_marks: tuple[int, ...]
    data_start: int
    data_bytes: int
    digest: str
    fault: CorruptModel | None = None

    def text(self, name: str) -> str:
        """ "" where the field is missing or of another type."""
        found = self.fields.get(name)
        return found if isinstance(found, str) else ""

    def number(self, name: str) -> int:
        """0 where the field is missing, negative, or no whole number; the largest of an array."""
        return max(self.numbers(name), default=0)

    def numbers(self, name: str) -> tuple[int, ...]:
        """Of an array in order; of a single number, that one; empty where the field is missing. What is no
        whole number from 0 on counts as 0."""
        found = self.fields.get(name)
        several = found if isinstance(found, tuple) else () if found is None else (found,)
        return tuple(int(one) if isinstance(one, int) and one > 0 else 0 for one in several)

    def flag(self, name: str) -> bool | None:
        found = self.fields.get(name)
        return found if isinstance(found, bool) else None

    def scalars(self) -> Counter[str]:
        """Number of scalars by type."""
        found: Counter[str] = Counter()
        for tensor in self.tensors.values():
            found[tensor.type] += tensor.scalars
        return found


def read_gguf(path: Path) -> GgufHeader:
    """Read and check the header of one file. Costs time in proportion to the header, and a few megabytes.

    Raises:
        CorruptModel: the file has no sound header; the message says where it breaks. What is wrong behind the
            header stands in `fault`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _Reader(Window(file, size, path.name)).read()


@dataclass(slots=True)
class _Reader:
    window: Window
    fields: dict[str, Value] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    token_marks: tuple[int, ...] = ()
    kept_bytes: int = 0
    texts: int = 0

    def read(self) -> GgufHeader:
        version, tensor_count, field_count = self._head()
        for _ in range(field_count):
            self._field()
        tensors = {}
        for _ in range(tensor_count):
            name, tensor = self._tensor()
            if name in tensors:
                raise self.window.refuse(f"describes the tensor {name!r} twice.")
            tensors[name] = tensor
        digest = self.window.digest()
        data_start = self._aligned(self.window.place)
        data_bytes, fault = self._check_places(tensors, data_start)
        return GgufHeader(
            version=version,
            fields=self.fields,
            lengths=self.lengths,
            tensors=tensors,
            token_marks=self.token_marks,
            data_start=data_start,
            data_bytes=data_bytes,
            digest=digest,
            fault=fault,
        )

    # ── the head ──────────────────────────────────────────────────────────────────────────────────────────

    def _head(self) -> tuple[int, int, int]:
        window = self.window
        if window.left == 0:
            raise window.refuse("is empty (0 bytes).", "the download or copy did not finish; fetch it again")
        if window.left < 4 or window.take(4) != b"GGUF":
            raise window.refuse("does not begin as a GGUF file does.", "fetch it again")
        version, tensors, fields = window.unpack(_HEAD)
        if version and version & 0xFFFF == 0:
            raise window.refuse(
                "is a big-endian GGUF file, which is not read here.", "fetch the little-endian file"
            )
        if version not in (2, 3):
            raise window.refuse(f"is a GGUF file of version {version}; 2 and 3 are read.", "convert it again")
        for count, most, least_bytes, what in (
            (fields, MAX_FIELDS, 13, "fields"),
            (tensors, MAX_TENSORS, 24, "tensors"),
        ):
            if count > most:
                raise window.refuse(f"announces {count} {what}; at most {most} are read.", "fetch it again")
            if count * least_bytes > window.left:
                raise self._too_short(f"{count} {what}")
        return version, tensors, fields

    def _too_short(self, announced: str) -> CorruptModel:
        return self.window.refuse(
            f"ends inside its header: it announces {announced}, but has {self.window.left} bytes left.",
            "the download or copy did not finish, or the file is damaged; fetch it again",
        )

    # ── fields ────────────────────────────────────────────────────────────────────────────────────────────

    def _field(self) -> None:
        name = self._name(MAX_NAME_BYTES, "field")
        if name in self.fields or name in self.lengths:
            raise self.window.refuse(f"has the field {name!r} twice.")
        (kind,) = self.window.unpack(_U32)
        if kind == _ARRAY:
            self._array(name)
        elif kind == _TEXT:
            text = self._text()
            if text is not None:
                self.fields[name] = text
        else:
            (self.fields[name],) = self.window.unpack(self._form(kind, name))

    def _name(self, most: int, what: str) -> str:
        (length,) = self.window.unpack(_U64)
        if length > most:
            raise self.window.refuse(
                f"has a {what} with a name of {length} bytes at byte {self.window.place}; "
                f"at most {most} are read."
            )
        return self.window.take(length).decode("utf-8", "replace")

    def _text(self) -> str | None:
        """None where it is too long to be kept."""
        (length,) = self.window.unpack(_U64)
        if length > MAX_TEXT_BYTES or not self._keep(length):
            self.window.skip(length)
            return None
        return self.window.take(length).decode("utf-8", "replace")

    def _keep(self, size: int) -> bool:
        """Whether as much may still be kept."""
        if self.kept_bytes + size > MAX_KEPT_BYTES:
            return False
        self.kept_bytes += size
        return True

    def _form(self, kind: int, name: str) -> struct.Struct:
        form = _FORMS.get(kind)
        if form is None:
            what = (
                "an array of arrays" if kind == _ARRAY else f"a value of type {kind}, which the format lacks"
            )
            raise self.window.refuse(f"has {what} in the field {name[:80]!r}.")
        return form

    def _array(self, name: str) -> None:
        kind, count = self.window.unpack(_U32_U64)
        self.lengths[name] = count
        if kind == _TEXT:
            self._texts(name, count)
            return
        form = self._form(kind, name)
        if count > MAX_KEPT_VALUES or not self._keep(count * 8):
            self.window.skip(count * form.size)
            return
        data = self.window.take(count * form.size)
        self.fields[name] = tuple(value for (value,) in form.iter_unpack(data))

    def _texts(self, name: str, count: int) -> None:
        self.texts += count
        if self.texts > MAX_TEXTS:
            raise self.window.refuse(
                f"announces {count} texts in the field {name[:80]!r}; at most {MAX_TEXTS} are read.",
                "fetch it again",
            )
        if count * 8 > self.window.left:
            raise self._too_short(f"{count} texts in the field {name[:80]!r}")
        if name == TOKENS:
            self._tokens(count)
        elif count > MAX_KEPT_VALUES:
            self.window.skip_texts(count)
        else:
            texts = [self._text() for _ in range(count)]
            if None not in texts:
                self.fields[name] = tuple(text for text in texts if text is not None)

    def _tokens(self, count: int) -> None:
        unmarked = min(count, UNMARKED_TOKENS)
        self.window.skip_texts(unmarked)
        self.window.mark()
        marks = []
        for begin in range(unmarked, count, MARKED_TEXTS):
            self.window.skip_texts(min(MARKED_TEXTS, count - begin))
            marks.append(self.window.mark())
        self.token_marks = tuple(marks)

    # ── tensors ───────────────────────────────────────────────────────────────────────────────────────────

    def _tensor(self) -> tuple[str, GgufTensor]:
        window = self.window
        name = self._name(MAX_TENSOR_NAME_BYTES, "tensor")
        (count,) = window.unpack(_U32)
        if count > MAX_SIDES:
            raise window.refuse(
                f"describes the tensor {name!r} with {count} sides; ggml has at most {MAX_SIDES}."
            )
        sides = tuple(window.unpack(_U64)[0] for _ in range(count))
        kind, offset = window.unpack(_U32_U64)
        block = TYPES.get(kind)
        if block is None:
            old = REMOVED.get(kind)
            raise window.refuse(
                f"stores the tensor {name!r} as type {kind}"
                + (f" ({old}), which llama.cpp reads no more." if old else ", which is not known here."),
                "fetch the model in another quantisation",
            )
        scalars = 1
        for side in sides:
            scalars *= side
        row = sides[0] if sides else 1
        if scalars and row % block.values:
            raise window.refuse(
                f"describes the tensor {name!r} with rows of {row} values, "
                f"which are no whole blocks of {block.values} ({block.name})."
            )
        return name, GgufTensor(sides, block.name, offset, scalars // block.values * block.size_bytes)

    def _alignment(self) -> int:
        found = self.fields.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(found) is not int or not 0 < found <= 1 << 20 or found & (found - 1):
            raise self.window.refuse(
                f"has a general.alignment of {str(found)[:40]}, which is no power of two."
            )
        return found

    def _aligned(self, place: int) -> int:
        alignment = self._alignment()
        return -(-place // alignment) * alignment

    def _check_places(
        self, tensors: Mapping[str, GgufTensor], data_start: int
    ) -> tuple[int, CorruptModel | None]:
        """Bytes up to the last tensor's end; and why tensors cannot lie there: they overlap, do not begin
        where the alignment wants them, or the file is too short."""
        alignment, end, before = self._alignment(), 0, ""
        fault = None
        for name, tensor in sorted(tensors.items(), key=lambda one: (one[1].offset, one[1].size_bytes)):
            if fault is None and tensor.offset % alignment:
                fault = self.window.refuse(
                    f"puts the tensor {name!r} at {tensor.offset}, which is no multiple of {alignment}."
                )
            if fault is None and tensor.offset < end:
                fault = self.window.refuse(
                    f"puts the tensor {name!r} at {tensor.offset}, inside {before!r}, which ends at {end}."
                )
            end, before = max(end, tensor.offset + tensor.size_bytes), name
        there = max(0, self.window.place + self.window.left - data_start)
        if fault is None and end > there:
            fault = self.window.refuse(
                f"is cut off: its tensors need {end} bytes, and {there} are there.",
                "the download or copy did not finish; fetch it again",
            )
        return end, fault
