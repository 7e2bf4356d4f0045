# SPDX-License-Identifier: Apache-2.0
"""The pictures on which a file is checked: of the part that was not learned from, spread over all of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from PIL import Image

from inglenook.wire.studio.spec import Example
from inglenook.workers.studio.data.pictures import UNREADABLE, read_picture
from inglenook.workers.studio.errors import NoData
from inglenook.workers.studio.export.errors import NoPictures


@dataclass(frozen=True, slots=True)
class Picture:
    """`target`: the class's number; None where it has none."""

    image: Image.Image
    target: int | None


class Pictures:
    """Args:
    manifest: one `Example` a line.
    """

    def __init__(self, manifest: Path) -> None:
        self._parts: dict[str, list[Example]] = {"test": [], "val": [], "train": []}
        decoder = msgspec.json.Decoder(Example)
        try:
            with manifest.open("rb") as lines:
                for line in lines:
                    if line.strip():
                        example = decoder.decode(line)
                        self._parts[example.subset].append(example)
        except (OSError, msgspec.MsgspecError) as error:
            raise NoData(f"The manifest {manifest.name} cannot be read: {str(error)[:200]}") from error

    @property
    def subset(self) -> str:
        """The part that is checked on: `test`, else `val`, else `train`. Raises NoPictures."""
        for name, examples in self._parts.items():
            if examples:
                return name
        raise NoPictures("The experiment's manifest has no pictures to check the file on.")

    def count(self, subset: str) -> int:
        return len(self._parts[subset])

    def some(self, subset: str, count: int) -> Iterator[Picture]:
        """At most `count` that can be read, spread over the part, in its order."""
        for example in spread(self._parts[subset], count):
            try:
                image = read_picture(example.file)
            except UNREADABLE:
                continue
            target = example.target
            known = isinstance(target, int) and not isinstance(target, bool)
            yield Picture(image, target if known else None)


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    if len(examples) <= count:
        return list(examples)
    return [examples[place * len(examples) // count] for place in range(count)]
