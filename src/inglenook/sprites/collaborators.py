# SPDX-License-Identifier: Apache-2.0
"""What sprites need of others, and no more. `app.py` hands in the real ones."""

from collections.abc import Sequence
from typing import Protocol

from inglenook.base.cancel import StopToken
from inglenook.base.ids import PersonId
from inglenook.engines.pixels import MadePicture, WriteOrder, WrittenFile
from inglenook.pixels.model import Recipe


class Pixels(Protocol):
    """`engines.pixels.PixelWorkshop`."""

    async def pixelate(
        self,
        frames: Sequence[bytes],
        mattes: Sequence[bytes | None],
        recipe: Recipe,
        *,
        person: PersonId,
        stop: StopToken,
        whole_animation: bool = False,
    ) -> list[MadePicture]: ...

    async def write(
        self, frames: Sequence[bytes], order: WriteOrder, *, person: PersonId, stop: StopToken
    ) -> WrittenFile: ...
