# SPDX-License-Identifier: Apache-2.0
"""`inglenook models`: what is in the model folders, and what is wrong with it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.units import format_bytes
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, table

if TYPE_CHECKING:
    from inglenook.catalog.model import ModelRecord
    from inglenook.settings import Settings


@click.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(config: Path | None, data: Path | None, as_json: bool) -> None:
    """List the models.

    Those that cannot be used are listed with the reason.
    """
    settings = load_settings(config=config, data=data).settings
    records = found_models(settings)
    if as_json:
        put_json([_as_json(record) for record in records])
        return
    if not records:
        say("no models found")
        say(
            f"hint: put model folders, .safetensors or .gguf files into {settings.server.data / 'models'}; "
            "inglenook starters install brings small ones"
        )
        return
    put(table([_row(record) for record in records], header=["model", "kind", "family", "size", "state"]))
    for record in records:
        if record.problem is not None:
            say(f"{record.id}: {record.problem}")
    if not any(record.kind == "language" and record.problem is None for record in records):
        say("hint: there is no language model; inglenook starters install brings small ones")


def found_models(settings: "Settings") -> "list[ModelRecord]":
    """All models in the folders that the settings name, and those that came with the package."""
    from inglenook.catalog.service import BUILTIN_MODELS, CatalogService

    catalog = CatalogService(
        roots=settings.model_folders,
        builtin=BUILTIN_MODELS,
        starters=settings.starter_folder,
        picture_model=settings.images.default_model,
    )
    return catalog.list()


def _row(record: "ModelRecord") -> list[str]:
    usable = "built in" if record.builtin else "usable"
    state = usable if record.problem is None else "cannot be used"
    size = format_bytes(record.weights_bytes)
    return [record.id, str(record.kind), _family(record), size, state]


def _family(record: "ModelRecord") -> str:
    """`flux schnell`; of a part `t5`; of what serves several families `flux, sd3`."""
    if record.family is not None:
        return f"{record.family} {record.variant}".rstrip()
    return ", ".join(record.fits) or record.role or "-"


def _as_json(record: "ModelRecord") -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": str(record.kind),
        "family": record.family,
        "variant": record.variant,
        "fits": list(record.fits),
        "role": record.role,
        "parts": {slot: str(path) for slot, path in record.parts.items()},
        "lora": None if record.lora is None else asdict(record.lora),
        "path": str(record.path),
        "layout": record.layout,
        "weights_bytes": record.weights_bytes,
        "parameters": record.parameters,
        "dtype": record.dtype,
        "builtin": record.builtin,
        "licence": record.licence,
        "problem": record.problem,
    }
