# SPDX-License-Identifier: Apache-2.0
"""What the engines whose children are workers of ours have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inglenook.runtime.worker import WorkerProcess


class WorkerEngine:
    """Args:
    spool_root: where each child gets a folder for the files that it exchanges with us.
    start_timeout_s: from the start of the process to the loaded model.
    cancel_grace_s: how long a cancelled piece of work may take to stop before the child is ended.
    stop_grace_s: how long a child may take to end by itself.
    """

    def __init__(
        self, *, spool_root: Path, start_timeout_s: float, cancel_grace_s: float, stop_grace_s: float
    ) -> None:
        self._spool_root = spool_root
        self._stop_grace_s = stop_grace_s
        self._patience = {
            "start_timeout_s": start_timeout_s,
            "cancel_grace_s": cancel_grace_s,
            "stop_grace_s": stop_grace_s,
        }
        """What each child is told of it."""

    async def _process(
        self, module: str, *, name: str, union: Any, environment: Mapping[str, str]
    ) -> WorkerProcess:
        """A worker of that module that has said Hello.

        Args:
            name: in messages to people.
            union: of what it may say.

        Raises:
            ChildFailed: it could not be started.
        """
        worker = WorkerProcess(
            module=module,
            name=name,
            union=union,
            spool_root=self._spool_root,
            extra=environment,
            grace_s=self._stop_grace_s,
        )
        await worker.start()
        return worker
