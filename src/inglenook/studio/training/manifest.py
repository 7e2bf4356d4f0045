# SPDX-License-Identifier: Apache-2.0
"""What a run learns from, picture by picture, written down before it begins. Blocks."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from inglenook.store.files import atomic_file
from inglenook.studio.datasets.model import ImageRecord
from inglenook.studio.tasks.model import Task
from inglenook.studio.training.errors import NotTrainable, one_class
from inglenook.wire.studio.spec import Example

Part = Literal["train", "val", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Written:
    """How many pictures of each part, and how many of the split's are left out, by the reason."""

    examples: Mapping[str, int]
    left_out: Mapping[str, int]

    def notes(self) -> list[str]:
        """What a person should know of it."""
        said = []
        if self.left_out.get("gone"):
            said.append(f"{self.left_out['gone']} pictures of the split are no longer in the data set.")
        if self.left_out.get("unlabelled"):
            said.append(
                f"{self.left_out['unlabelled']} pictures of the split have no class and are left out."
            )
        return said


def write_manifest(
    path: Path,
    records: Iterable[ImageRecord],
    assignments: Mapping[str, str],
    *,
    task: Task,
    classes: Sequence[str],
    file: Callable[[ImageRecord], Path],
    most: int | None = None,
) -> Written:
    """One `Example` a line, in the order of the data set.

    Args:
        assignments: id of a picture → part; what is in no part is left out.
        file: where a picture lies.
        most: the rest is left away when there are so many to learn from.

    Raises:
        NotTrainable: no picture to learn from, or all of them of one class.
        Failed, Unavailable: it cannot be written.
    """
    examples: Counter[str] = Counter()
    learned: set[int] = set()
    unlabelled = met = 0
    with atomic_file(path) as out:
        for record in records:
            part = next((it for it in PARTS if it == assignments.get(record.id)), None)
            if part is None:
                continue
            met += 1
            target = task.target(record.annotations, classes)
            if target is None:
                unlabelled += 1
                continue
            example = Example(id=record.id, file=str(file(record)), subset=part, target=target)
            out.write(msgspec.json.encode(example) + b"\n")
            examples[part] += 1
            if part == "train" and isinstance(target, int):
                learned.add(target)
            if examples["train"] == most:
                break
    gone = sum(part in PARTS for part in assignments.values()) - met
    if not examples["train"]:
        raise NotTrainable(
            "The split's training part has no picture with a class: there is nothing to learn from.",
            code="experiment.no_data",
            hint="label the pictures, or make a split whose training part has some",
        )
    if len(learned) == 1 and most is None:
        raise one_class(classes[learned.pop()])
    left_out = {reason: count for reason, count in (("gone", gone), ("unlabelled", unlabelled)) if count}
    return Written({part: examples[part] for part in PARTS}, left_out)
