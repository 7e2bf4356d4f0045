# SPDX-License-Identifier: Apache-2.0
"""Pictures that a socket has sent: a header as text, then the pixels as one binary message. Bounded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inglenook.api.pixelai.reading import Fields
from inglenook.api.pixelai.rgba import Raw
from inglenook.base.errors import Invalid, TooLarge
from inglenook.base.units import MIB, format_bytes
from inglenook.door.problem import shown

MAX_BYTES: Final = 16 * MIB
"""Of one upload: 2048 x 2048 pixels. It is also the largest message that the server's sockets take."""
MAX_TOTAL_BYTES: Final = 64 * MIB
MAX_NAMES: Final = 8
MAX_SIDE_PX: Final = 65_535
_BYTES_A_PIXEL: Final = 4


@dataclass(frozen=True, slots=True)
class Announced:
    """What the next binary message is to be."""

    name: str
    width: int
    height: int

    @property
    def size_bytes(self) -> int:
        return self.width * self.height * _BYTES_A_PIXEL


class Uploads:
    """By name; one that comes again replaces the one before."""

    def __init__(self) -> None:
        self._kept: dict[str, Raw] = {}

    def announce(self, message: Mapping[str, Any]) -> Announced:
        """Raises Invalid, TooLarge: what is announced will not be taken."""
        fields = Fields(message)
        fields.require_known(("type", "name", "width", "height", "format"))
        name = fields.words("name", most=64)
        if name is None:
            raise Invalid("An upload needs a name.", field="name", code="request.missing_field")
        fields.one_of("format", "rgba", ("rgba",))
        sides = [fields.whole(side, None, 1, MAX_SIDE_PX) for side in ("width", "height")]
        if sides[0] is None or sides[1] is None:
            raise Invalid("An upload needs its width and its height.", field="width")
        found = Announced(name, sides[0], sides[1])
        self._require_room(found)
        return found

    def _require_room(self, one: Announced) -> None:
        if one.size_bytes > MAX_BYTES:
            raise TooLarge(
                f"{one.name} is {one.width}x{one.height} pixels, {format_bytes(one.size_bytes)}.",
                code="picture.too_large",
                field="width",
                hint=f"an upload may have {format_bytes(MAX_BYTES)}: send the selection only",
            )
        others = {name: raw for name, raw in self._kept.items() if name != one.name}
        total = one.size_bytes + sum(len(raw.data) for raw in others.values())
        if len(others) >= MAX_NAMES or total > MAX_TOTAL_BYTES:
            raise TooLarge(
                f"There are {len(others)} uploads of {format_bytes(total - one.size_bytes)} already.",
                code="picture.too_large",
                field="name",
                hint=f"a socket keeps {MAX_NAMES}, {format_bytes(MAX_TOTAL_BYTES)} in all: use a name again",
            )

    def keep(self, announced: Announced, data: bytes) -> None:
        """Raises Invalid: it is not of the announced size."""
        if len(data) != announced.size_bytes:
            raise Invalid(
                f"{announced.name} was announced as {announced.width}x{announced.height} pixels, "
                f"{announced.size_bytes} bytes; {len(data)} came.",
                field=announced.name,
                hint="send the raw pixels, four bytes each, as one binary message",
            )
        self._kept[announced.name] = Raw(announced.width, announced.height, data)

    def get(self, name: str, *, field: str) -> Raw:
        """Raises Invalid: there is none."""
        found = self._kept.get(name)
        if found is None:
            there = ", ".join(sorted(self._kept)) or "none"
            raise Invalid(
                f"There is no upload {shown(name)}.", field=field, hint=f"upload it first; there are: {there}"
            )
        return found
