# SPDX-License-Identifier: Apache-2.0
"""What a person has chosen with /load_model and /set_engine: what counts where a request names nothing.

The original has one model and one engine for everybody. Here each person has their own, kept in a file, so
that a restart changes nothing.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from inglenook.base.errors import Unavailable
from inglenook.base.ids import ModelId, PersonId
from inglenook.store.files import write_atomic

AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """`model`: None for the default picture model. `engine`: "auto" takes what suits the model."""

    model: ModelId | None = None
    engine: str = AUTO


class Choices:
    """Every method blocks on the disk at most, and may be called from any thread.

    Args:
        path: of the file; it is made at the first choice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Choice] | None = None

    def of(self, person: PersonId) -> Choice:
        """Raises Unavailable: the file cannot be read."""
        with self._lock:
            return self._all().get(person, Choice())

    def choose(self, person: PersonId, *, model: ModelId | None = None, engine: str | None = None) -> Choice:
        """Keep a choice; what is not named stays.

        Raises:
            Unavailable, Failed: the file cannot be read or written; nothing is changed then.
        """
        with self._lock:
            before = self._all().get(person, Choice())
            changes: dict[str, Any] = {"model": model, "engine": engine}
            after = replace(before, **{name: value for name, value in changes.items() if value is not None})
            if after != before:
                kept = {**self._all(), person: after}
                write_atomic(self._path, _encoded(kept))
                self._known = kept
            return after

    def _all(self) -> dict[str, Choice]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, Choice]:
        try:
            kept = json.loads(self._path.read_bytes())
            return {person: _choice(said) for person, said in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
            raise Unavailable(
                f"{self._path} cannot be read: {error}.",
                code="pixel.choices",
                hint="remove it; /load_model and /set_engine then choose anew",
            ) from error


def _choice(said: Mapping[str, Any]) -> Choice:
    model, engine = said["model"], said["engine"]
    if not isinstance(engine, str) or not (model is None or isinstance(model, str)):
        raise TypeError(f"{said!r} is no choice")
    return Choice(None if model is None else ModelId(model), engine)


def _encoded(kept: Mapping[str, Choice]) -> bytes:
    return json.dumps({person: asdict(choice) for person, choice in kept.items()}, indent=1).encode() + b"\n"
