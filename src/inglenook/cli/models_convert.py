# SPDX-License-Identifier: Apache-2.0
"""`inglenook models convert`: a model of the library, written anew for another engine."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled
from inglenook.base.units import format_bytes, format_seconds
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import Progress, put, put_json

if TYPE_CHECKING:
    from inglenook.catalog.model import ModelRecord
    from inglenook.settings import Settings
    from inglenook.wire.message import Message
    from inglenook.wire.mlx import Converted, ConvertModel

START_TIMEOUT_S: Final = 120.0
GRACE_S: Final = 5.0


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
    from inglenook.images.conversion import asked_of, target_name

    settings = load_settings(config=config, data=data).settings
    record = _found(settings, model)
    target = settings.server.data / "models" / engine / target_name(name, record)
    asked = asked_of(record, target, dtype, replace=force, job="convert")
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
    from inglenook.catalog.service import BUILTIN_MODELS, CatalogService
    from inglenook.images.conversion import require_convertible

    catalog = CatalogService(
        roots=settings.model_folders,
        builtin=BUILTIN_MODELS,
        starters=settings.starter_folder,
        picture_model=settings.images.default_model,
    )
    record = catalog.find(name)
    require_convertible(record)
    return record


async def _run(asked: "ConvertModel", record: "ModelRecord") -> "Converted":
    """Raises ChildFailed, ConversionFailed, NotConvertible, Cancelled."""
    from inglenook.engines.mlx import Converters
    from inglenook.images.conversion import why
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
        raise why(last)
    raise Cancelled(f"The conversion of {record.id} was stopped; nothing was kept.")
