# SPDX-License-Identifier: Apache-2.0
"""Logs of a run in the forms of TensorBoard and MLflow, beside its checkpoints."""

from pathlib import Path

from inglenook.wire.studio.training import Train


class RunLogs:
    def __init__(self, work: Train, folder: Path) -> None:
        pass

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        pass

    def close(self, status: str) -> None:
        pass
