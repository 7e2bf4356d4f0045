# SPDX-License-Identifier: Apache-2.0
"""`inglenook models convert`: a model of the library, written anew for another engine."""

import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled, Failed, Invalid
from inglenook.base.units import format_bytes, format_seconds
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import Progress, put, put_json

if TYPE_CHECKING:
    from inglenook.catalog.model import ModelRecord
    from inglenook.settings import Settings
    from inglenook.wire.message import Message
    from inglenook.wire.mlx import Converted, ConvertModel

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
START_TIMEOUT_S: Final = 120.0
GRACE_S: Final = 5.0


class NotConvertible(Invalid):
    default_code = "convert.unsupported"


class ConversionFailed(Failed):
    default_code = "convert.failed"


@click.command()
@click.argument("model")
@click.option("--to", "engine", type=click.Choice(["mlx"]), required=True, help="The engine to convert for.")
@click.option("--name", help="Name of the converted model; that of the model where none is given.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "bfloat16", "float32"]),
    default="float16",
    show_default=True,
    help="Precision of the weights; a VAE that overflows in float16 stays in float32.",
)
@click.option("--force", is_flag=True, help="Replace what was converted before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def convert(
    model: str,
    engine: str,
    name: str | None,
    dtype: str,
    force: bool,
    as_json: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Write a model anew for MLX, into models/mlx/ of the data folder. No server is needed.

    The original stays as it is. A server that runs finds the new one by itself.
    """
    settings = load_settings(config=config, data=data).settings
    record = _found(settings, model)
    target = settings.server.data / "models" / engine / _target_name(name, record)
    asked = _asked(record, target, dtype, replace=force)
    done = asyncio.run(_run(asked, record))
    if as_json:
        put_json(
            {
                "model": f"{engine}/{target.name}",
                "path": str(target),
                "size_bytes": done.size_bytes,
                "seconds": round(done.seconds, 3),
            }
        )
        return
    size, seconds = format_bytes(done.size_bytes), format_seconds(done.seconds)
    put(f"{engine}/{target.name}: {size} in {seconds}, in {target}")


def _found(settings: "Settings", name: str) -> "ModelRecord":
    """Raises ModelNotFound, ModelAmbiguous, NotConvertible."""
    from inglenook.catalog.errors import unusable
    from inglenook.catalog.model import ModelKind
    from inglenook.catalog.service import BUILTIN_MODELS, CatalogService
    from inglenook.wire.families import FAMILIES as ALL
    from inglenook.wire.mlx import FAMILIES

    catalog = CatalogService(
        roots=settings.model_folders,
        builtin=BUILTIN_MODELS,
        starters=settings.starter_folder,
        picture_model=settings.images.default_model,
    )
    record = catalog.find(name)
    if record.kind is not ModelKind.IMAGE or record.family not in FAMILIES:
        what = (
            f"of the family {record.family}" if record.kind is ModelKind.IMAGE else f"of kind {record.kind}"
        )
        titles = ", ".join(ALL[one].title for one in FAMILIES)
        raise NotConvertible(
            f"{record.id} is a model {what}; for MLX there are networks of {titles}.", field="model"
        )
    if record.engine == "mlx":
        raise NotConvertible(f"{record.id} is converted for MLX already.", field="model")
    if record.problem is not None:
        raise unusable(record.id, record.problem)
    return record


def _target_name(name: str | None, record: "ModelRecord") -> str:
    """Raises BadParameter for a name that is no plain name of a folder."""
    if name is None:
        plain = _UNFIT.sub("-", record.id.rpartition("/")[2]).strip("-._")[:100]
        return plain or f"model-{record.digest[:8]}"
    if not _NAME.fullmatch(name):
        raise click.BadParameter(
            "letters, digits, dots, dashes and underscores, at most 100, beginning with a letter or a digit",
            param_hint="--name",
        )
    return name


def _asked(record: "ModelRecord", target: Path, dtype: str, *, replace: bool) -> "ConvertModel":
    from inglenook.catalog.sidecar import sidecar_path
    from inglenook.wire.mlx import ConvertModel, Source

    notes = sidecar_path(record.path)
    return ConvertModel(
        job="convert",
        path=str(record.path),
        layout=record.layout,
        family=record.family or "",
        variant=record.variant,
        target=str(target),
        dtype=dtype,  # type: ignore[arg-type]  # click has seen to it
        replace=replace,
        notes=str(notes) if notes.is_file() else None,
        source=Source(model=record.id, path=str(record.path), digest=record.digest),
        title=record.title,
        licence=record.licence,
        description=record.description,
    )


async def _run(asked: "ConvertModel", record: "ModelRecord") -> "Converted":
    """Raises ChildFailed, ConversionFailed, NotConvertible, Cancelled."""
    from inglenook.engines.mlx import Converters
    from inglenook.wire.mlx import Converted, ConvertFailed, Converting

    with tempfile.TemporaryDirectory(prefix="inglenook-") as spool, Progress(sys.stderr) as progress:
        converters = Converters(
            spool_root=Path(spool),
            start_timeout_s=START_TIMEOUT_S,
            cancel_grace_s=GRACE_S,
            stop_grace_s=GRACE_S,
        )

        async def hear(message: "Message") -> None:
            if isinstance(message, Converting):
                progress.update(message.done / max(message.total, 1), message.part)

        async with converters.started(str(record.id)) as child:
            last = await child.convert(asked, stop=StopToken(), tell=hear)
    if isinstance(last, Converted):
        return last
    if isinstance(last, ConvertFailed):
        message, _, hint = last.message.partition("\nhint: ")
        kind = NotConvertible if last.code == "convert.unsupported" else ConversionFailed
        raise kind(message, code=last.code, hint=hint or None)
    raise Cancelled(f"The conversion of {record.id} was stopped; nothing was kept.")
