# SPDX-License-Identifier: Apache-2.0
"""The fields of a protobuf message, read forwards from a file. Nothing of the protobuf library is needed: a
message is a row of fields, each a number with a type and a value,

    ┌────────────────────────┬───────────────────────────────────────────────────────────────────┐
    │ key: varint            │ type 0: a varint · 1: eight bytes · 5: four bytes                 │
    │ (field << 3) | type    │ type 2: a length (varint) and so many bytes: text, bytes, message │
    └────────────────────────┴───────────────────────────────────────────────────────────────────┘

and a message inside another is a length that must fit into the outer one. No length is believed: it is
compared with the room that is left before anything is read, and what nobody wants is leapt over unread.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from inglenook.catalog.forward import Window

VARINT: Final = 0
EIGHT: Final = 1
BYTES: Final = 2
FOUR: Final = 5
MAX_VARINT_BYTES: Final = 10
_WIDTHS: Final = {EIGHT: 8, FOUR: 4}
_U64: Final = (1 << 64) - 1


class Field(NamedTuple):
    """`value`: of a varint; of anything else the number of bytes that come next, which `end` ends."""

    number: int
    type: int
    value: int
    end: int


class Reader:
    """Args:
        window: at the beginning of a message.
        max_fields: of all messages together; more are refused.

    Every method raises `CorruptModel` where the file is no message.
    """

    def __init__(self, window: Window, *, max_fields: int) -> None:
        self.window = window
        self._left = max_fields
        self._max_fields = max_fields

    def fields(self, end: int) -> Iterator[Field]:
        """The fields of the message that ends at byte `end` of the file. What the caller has not read of a
        field when it asks for the next is leapt over."""
        window = self.window
        while window.place < end:
            field = self._field(end)
            yield field
            if field.type != VARINT:
                window.leap(field.end - window.place)
        if window.place != end:
            raise window.refuse(f"is no protobuf message: a field runs over its end at byte {end}.")

    def _field(self, end: int) -> Field:
        self._left -= 1
        if self._left < 0:
            raise self.window.refuse(f"has more than {self._max_fields} fields, which are not read.")
        key = self.varint(end)
        number, kind = key >> 3, key & 7
        if number == 0 or kind not in (VARINT, EIGHT, BYTES, FOUR):
            raise self.window.refuse(
                f"is no protobuf message: byte {self.window.place} has field {number} of type {kind}."
            )
        if kind == VARINT:
            return Field(number, kind, self.varint(end), self.window.place)
        length = self.varint(end) if kind == BYTES else _WIDTHS[kind]
        if length > end - self.window.place:
            raise self.window.refuse(
                f"is cut off or no protobuf message: field {number} at byte {self.window.place} announces "
                f"{length} bytes, and its message has {end - self.window.place} more.",
                "fetch it again",
            )
        return Field(number, kind, length, self.window.place + length)

    def varint(self, end: int) -> int:
        """An unsigned number of up to 64 bits."""
        value = 0
        for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
            if self.window.place >= end:
                raise self.window.refuse(f"is no protobuf message: a number runs over byte {end}.")
            byte = self.window.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value & _U64
        raise self.window.refuse(f"is no protobuf message: a number has over {MAX_VARINT_BYTES} bytes.")

    def text(self, field: Field, limit: int) -> str:
        return self.bytes(field, limit).decode("utf-8", "replace")

    def bytes(self, field: Field, limit: int) -> bytes:
        """Raises `CorruptModel` also where there are more than `limit`."""
        if field.type != BYTES:
            raise self.window.refuse(f"has a number in field {field.number}, where a text belongs.")
        if field.value > limit:
            raise self.window.refuse(
                f"has a text of {field.value} bytes in field {field.number}; at most {limit} are read."
            )
        return self.window.take(field.value)

    def signed(self, field: Field) -> int:
        """A varint as a signed number of 64 bits."""
        if field.type != VARINT:
            raise self.window.refuse(f"has no number in field {field.number}, where one belongs.")
        return field.value - (1 << 64) if field.value >> 63 else field.value

    def packed(self, field: Field, limit: int) -> list[int]:
        """A list of signed numbers: one, or many packed together, at most `limit`."""
        if field.type == VARINT:
            return [self.signed(field)]
        if field.type != BYTES:
            raise self.window.refuse(f"has no numbers in field {field.number}, where some belong.")
        found: list[int] = []
        while self.window.place < field.end:
            if len(found) == limit:
                raise self.window.refuse(f"has more than {limit} numbers in field {field.number}.")
            value = self.varint(field.end)
            found.append(value - (1 << 64) if value >> 63 else value)
        return found

    def message(self, field: Field) -> int:
        """The end of the message in a field. Raises `CorruptModel` where it is no message."""
        if field.type != BYTES:
            raise self.window.refuse(f"has a number in field {field.number}, where a message belongs.")
        return field.end
