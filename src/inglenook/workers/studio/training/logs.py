# SPDX-License-Identifier: Apache-2.0
"""Logs of a run in the forms of TensorBoard and MLflow, beside its checkpoints: one value a metric and epoch.

`tensorboard --logdir RUN/tensorboard` shows one. The other is MLflow's file store, which its newer versions
read when MLFLOW_ALLOW_FILE_STORE=true is set: `mlflow ui --backend-store-uri RUN/mlruns`, or `mlflow
migrate-filestore` brings it into a database. MLflow itself is not needed to write it: folders, and one line
a value.
"""

import json
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from torch.utils.tensorboard import SummaryWriter

from inglenook.wire.studio.training import Train

Status = Literal["running", "finished", "failed", "stopped"]
STATUS: Final[Mapping[Status, int]] = {"running": 1, "finished": 3, "failed": 4, "stopped": 5}
"""MLflow's numbers (RunStatus of its protocol)."""

EXPERIMENT: Final = "0"
LONGEST_PARAM: Final = 500


class RunLogs:
    """Args:
    folder: the run's own.
    epoch: the first that will be written. What earlier attempts wrote from it on is void.
    """

    def __init__(self, work: Train, folder: Path, *, epoch: int) -> None:
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch)
        self._mlflow = MlflowRun(folder / "mlruns", work, epoch=epoch)
        self._board.add_text("spec", f"```json\n{_pretty(work)}\n```", global_step=epoch - 1)
        for name, value in work.lineage.items():
            self._board.add_text(f"lineage/{name}", value, global_step=epoch - 1)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(_grouped(name), value, epoch)
        self._board.flush()
        self._mlflow.write(epoch, values)

    def close(self, status: Status) -> None:
        self._board.close()
        self._mlflow.end(status)


class MlflowRun:
    """One run in a file store of MLflow: `<experiment>/<run>/meta.yaml`, metrics, params, tags."""

    def __init__(self, root: Path, work: Train, *, epoch: int) -> None:
        self._root = root
        self._experiment = root / EXPERIMENT
        self._run = self._found() or self._begun(work)
        self._cut(epoch)
        self._describe(work)
        self._meta("running")

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        now = _now_ms()
        for name, value in values.items():
            with (self._run / "metrics" / name).open("a", encoding="utf-8") as file:
                file.write(f"{now} {value!r} {epoch}\n")

    def end(self, status: Status) -> None:
        self._meta(status)

    def _found(self) -> Path | None:
        """The run of an earlier attempt."""
        return next((path.parent for path in self._experiment.glob("*/meta.yaml")), None)

    def _begun(self, work: Train) -> Path:
        run = self._experiment / uuid.uuid4().hex
        for part in ("metrics", "params", "tags", "artifacts"):
            (run / part).mkdir(parents=True)
        (self._root / ".trash").mkdir(exist_ok=True)
        _yaml(
            self._experiment / "meta.yaml",
            artifact_location=self._experiment.resolve().as_uri(),
            creation_time=_now_ms(),
            experiment_id=EXPERIMENT,
            last_update_time=_now_ms(),
            lifecycle_stage="active",
            name=work.lineage.get("project", "Default"),
        )
        (run / "tags" / "started").write_text(str(_now_ms()), encoding="utf-8")
        return run

    def _cut(self, epoch: int) -> None:
        for file in (self._run / "metrics").iterdir():
            lines = [
                line for line in file.read_text(encoding="utf-8").splitlines() if int(line.split()[2]) < epoch
            ]
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _describe(self, work: Train) -> None:
        for part in ("model", "hyperparameters", "augmentations", "hardware"):
            for name, value in msgspec.to_builtins(getattr(work.spec, part)).items():
                text = value if isinstance(value, str) else json.dumps(value)
                (self._run / "params" / f"{part}.{name}").write_text(text[:LONGEST_PARAM], encoding="utf-8")
        tags = {"mlflow.runName": work.lineage.get("name", work.job), "task": work.task}
        tags |= {_safe(f"lineage.{name}"): value for name, value in work.lineage.items()}
        for name, value in tags.items():
            (self._run / "tags" / name).write_text(value, encoding="utf-8")

    def _meta(self, status: Status) -> None:
        _yaml(
            self._run / "meta.yaml",
            artifact_uri=(self._run / "artifacts").resolve().as_uri(),
            end_time=None if status == "running" else _now_ms(),
            entry_point_name="",
            experiment_id=EXPERIMENT,
            lifecycle_stage="active",
            run_id=self._run.name,
            run_name=(self._run / "tags" / "mlflow.runName").read_text(encoding="utf-8"),
            run_uuid=self._run.name,
            source_name="",
            source_type=4,
            source_version="",
            start_time=int((self._run / "tags" / "started").read_text(encoding="utf-8")),
            status=STATUS[status],
            tags=[],
            user_id="",
        )


def _yaml(path: Path, **values: Any) -> None:
    """Flat YAML; a JSON scalar is one."""
    path.write_text(
        "".join(f"{name}: {json.dumps(value)}\n" for name, value in values.items()), encoding="utf-8"
    )


def _grouped(name: str) -> str:
    """`val_loss` to `loss/val`, so that TensorBoard draws both parts into one chart's group."""
    part, _, what = name.partition("_")
    return f"{what}/{part}" if part in {"train", "val"} and what else name


def _safe(name: str) -> str:
    """As a file's name that MLflow accepts."""
    return re.sub(r"[^\w.\- /]", "_", name).replace("/", "_")


def _pretty(work: Train) -> str:
    return msgspec.json.format(msgspec.json.encode(work.spec), indent=1).decode()


def _now_ms() -> int:
    return int(time.time() * 1000)
