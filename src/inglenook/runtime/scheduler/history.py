# SPDX-License-Identifier: Apache-2.0
"""What the scheduler has decided lately, for people who want to know why. Bounded; never read to decide."""

from collections import deque
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from inglenook.base.ids import DeviceId, ModelId

KEPT = 100

What = Literal[
    "loading", "ready", "unloading", "failed", "refused", "parking", "parked", "resuming", "resumed"
]


@dataclass(frozen=True, slots=True)
class Note:
    """One decision or its outcome. `device`: None where no device was chosen."""

    when: datetime
    what: What
    model: ModelId
    device: DeviceId | None
    reason: str


class History:
    """The last `KEPT` notes."""

    def __init__(self) -> None:
        self._notes: deque[Note] = deque(maxlen=KEPT)

    def note(self, when: datetime, what: What, model: ModelId, device: DeviceId | None, reason: str) -> None:
        self._notes.append(Note(when, what, model, device, reason))

    def as_json(self) -> list[dict[str, Any]]:
        """The newest first."""
        return [{**asdict(note), "when": note.when.isoformat()} for note in reversed(self._notes)]
