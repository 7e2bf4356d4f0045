# SPDX-License-Identifier: Apache-2.0
"""One model after another until told to end; each has exactly one last word."""

import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import msgspec

from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Message
from inglenook.wire.mlx import (
    DTYPES,
    FAMILIES,
    MANIFEST,
    Converted,
    ConvertFailed,
    Converting,
    ConvertLastWord,
    ConvertModel,
    ConvertStopped,
    Manifest,
    OpenConverter,
)
from inglenook.workers.image.errors import LoadCorrupt, LoadUnsupported
from inglenook.workers.mlx.convert.folder import read_folder
from inglenook.workers.mlx.convert.single import read_single
from inglenook.workers.mlx.convert.source import Model
from inglenook.workers.mlx.convert.writing import (
    Progress,
    room_for,
    weights_bytes,
    write_manifest,
    write_model,
)
from inglenook.workers.serving import ServingWorker
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)


class Worker(ServingWorker[OpenConverter, ConvertModel]):
    opens = OpenConverter

    def open(self, request: OpenConverter) -> bool:  # noqa: ARG002 - it says nothing
        mx.set_default_device(mx.Device(mx.cpu))  # nothing is computed; the GPU may be at work for somebody
        self._opened()
        return True

    def do(self, work: ConvertModel) -> ConvertLastWord:
        return convert(work, tell=self._channel.send, should_stop=self._inbox.should_stop, clock=self._clock)


def convert(
    work: ConvertModel, *, tell: Callable[[Message], None], should_stop: Callable[[], bool], clock: Clock
) -> ConvertLastWord:
    """Write the model. Raises only `PeerGone`."""
    began = clock.monotonic()

    def stop_if_asked() -> None:
        if should_stop():
            raise Cancelled("stopped")

    try:
        facts = _written(work, tell, stop_if_asked)
    except PeerGone:
        raise
    except Cancelled:
        return ConvertStopped(job=work.job)
    except (LoadCorrupt, LoadUnsupported) as error:
        code = "convert.corrupt" if isinstance(error, LoadCorrupt) else "convert.unsupported"
        return ConvertFailed(job=work.job, code=code, message=str(error))
    except InglenookError as error:
        return ConvertFailed(job=work.job, code=error.code, message=str(error))
    except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
        log_failure(log, "a conversion failed", error)
        return ConvertFailed(job=work.job, code="convert.failed", message=in_words(error))
    size = sum(one.size_bytes for one in facts.files.values())
    return Converted(
        job=work.job, seconds=clock.monotonic() - began, size_bytes=size, files=len(facts.files) + 1
    )


def _written(
    work: ConvertModel, tell: Callable[[Message], None], stop_if_asked: Callable[[], None]
) -> Manifest:
    _require_known(work)
    model = _read(work)
    total = weights_bytes(model, work.dtype)
    with room_for(Path(work.target), total, replace=work.replace) as folder:
        progress = Progress(
            total,
            lambda part, done, of: tell(Converting(job=work.job, part=part, done=done, total=of)),
            stop_if_asked,
        )
        files = write_model(model, folder, work.dtype, progress)
        manifest = Manifest(
            family=work.family,  # type: ignore[arg-type]  # _require_known has seen to it
            variant=work.variant,
            dtype=work.dtype,
            source=msgspec.structs.replace(work.source, revision=work.source.revision or model.revision),
            converter=f"inglenook {version('inglenook')}",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            title=work.title,
            licence=work.licence,
            description=work.description,
            files=files,
        )
        write_manifest(manifest, folder)
        if work.notes is not None:  # not listed: a person may go on writing there
            shutil.copyfile(work.notes, folder / "inglenook.json")
        stop_if_asked()
    return manifest


def _read(work: ConvertModel) -> Model:
    path = Path(work.path)
    return (
        read_folder(path, work.family)
        if work.layout == "folder"
        else read_single(path, work.family, work.variant)
    )


def _require_known(work: ConvertModel) -> None:
    if work.family not in FAMILIES:
        raise LoadUnsupported(
            f"Models of the family {work.family} cannot be drawn with by MLX here.",
            hint=f"there are networks of {', '.join(FAMILIES)}",
        )
    if work.dtype not in DTYPES:
        raise LoadUnsupported(f"{work.dtype!r} is not a precision; there are {', '.join(DTYPES)}.")
    if (Path(work.path) / MANIFEST).is_file():
        raise LoadUnsupported(f"{Path(work.path).name} is converted for MLX already.")
