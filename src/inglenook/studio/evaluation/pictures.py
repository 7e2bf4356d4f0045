# SPDX-License-Identifier: Apache-2.0
"""Which pictures are evaluated, and what they are. Blocks.

The pictures, and which part each is of, are those that the experiment was started with: a picture that it has
learned from never counts as a test. What a picture shows is what the data set says now, so that a label that
was put right counts; a class that was only renamed since is the one that was learned.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from inglenook.store.files import atomic_file
from inglenook.studio.datasets.model import ImageRecord
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.tasks.model import Task
from inglenook.vision.annotations import primary_class
from inglenook.wire.studio.spec import Example

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Chosen:
    """How many pictures were written, by subset; and how many were left out, by the reason."""

    counts: Mapping[str, int]
    left_out: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def read_manifest(path: Path) -> Iterator[Example]:
    """Raises OSError, msgspec.MsgspecError."""
    decoder = msgspec.json.Decoder(Example)
    with path.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield decoder.decode(line)


def write_chosen(
    path: Path,
    manifest: Path,
    subsets: Sequence[str],
    *,
    datasets: DatasetsService,
    project: str,
    task: Task,
    classes: Sequence[str],
) -> Chosen:
    """Args:
        path: the file that is written. manifest: of the experiment.
        classes: what the experiment has learned to tell apart.

    Raises OSError, msgspec.MsgspecError: the manifest cannot be read. DatasetNotImported. Failed,
    Unavailable: the file cannot be written.
    """
    renamed = _renamed(manifest, datasets, project, classes)
    counts: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    wanted = (one for one in read_manifest(manifest) if one.subset in subsets)
    with atomic_file(path) as out:
        for example, record in _with_records(wanted, datasets, project):
            target = None if record is None else _target(record, example, task, classes, renamed)
            if record is None or target is None:
                left_out["gone" if record is None else "unlabelled"] += 1
                continue
            file = str(datasets.file(project, record))
            changed = msgspec.structs.replace(example, file=file, target=target)
            out.write(msgspec.json.encode(changed) + b"\n")
            counts[example.subset] += 1
    return Chosen(dict(counts), dict(left_out))


def _with_records(
    examples: Iterator[Example], datasets: DatasetsService, project: str
) -> Iterator[tuple[Example, ImageRecord | None]]:
    """Each with what the data set says of it now; None where it is gone."""
    while some := list(islice(examples, _AT_ONCE)):
        records = datasets.some(project, [one.id for one in some])
        for example in some:
            yield example, records.get(example.id)


def _renamed(
    manifest: Path, datasets: DatasetsService, project: str, classes: Sequence[str]
) -> Mapping[str, str]:
    """What a class that was learned and is no more is called now: the name that most of its pictures have."""
    known = datasets.head(project).classes
    vanished = {name for name in classes if name not in known}
    if not vanished:
        return {}
    names: dict[str, Counter[str]] = {name: Counter() for name in vanished}
    for example, record in _with_records(read_manifest(manifest), datasets, project):
        old = classes[int(example.target)]
        now = None if record is None else primary_class(record.annotations)
        if old in vanished and now is not None:
            names[old][now] += 1
    return {old: found.most_common(1)[0][0] for old, found in names.items() if found}


def _target(
    record: ImageRecord,
    example: Example,
    task: Task,
    classes: Sequence[str],
    renamed: Mapping[str, str],
) -> int | None:
    """The number of its class among those that were learned; None where it is another one, or has none."""
    target = task.target(record.annotations, classes)
    if target is not None:
        return int(target)
    now = primary_class(record.annotations)
    same = now is not None and renamed.get(classes[int(example.target)]) == now
    return int(example.target) if same else None
