# SPDX-License-Identifier: Apache-2.0
"""`inglenook models`: what is in the model folders, what is wrong with it; and what a running server does
with one of them."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.units import format_bytes, format_seconds
from inglenook.cli.models_convert import convert
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, table

if TYPE_CHECKING:
    from inglenook.catalog.model import ModelRecord
    from inglenook.settings import Settings


@click.group(invoke_without_command=True)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(ctx: click.Context, config: Path | None, data: Path | None, as_json: bool) -> None:
    """List the models; load, unload, pin, set up or convert one.

    Those that cannot be used are listed with the reason.
    """
    if ctx.invoked_subcommand is None:
        _list(config, data, as_json=as_json)


models.add_command(convert)


def _list(config: Path | None, data: Path | None, *, as_json: bool) -> None:
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
        "engine": record.engine,
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


def _served(command: Any) -> Any:
    """Add the model's name, and what a command needs that asks the running server."""
    return click.argument("model")(_asking(command))


def _asking(command: Any) -> Any:
    """Add what a command needs that asks the running server."""
    return settings_options(click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command))


@models.command()
@click.option("--keep", "keep_s", type=float, help="Seconds that it then stays loaded unused; -1 for ever.")
@_served
def load(model: str, keep_s: float | None, config: Path | None, data: Path | None, as_json: bool) -> None:
    """Load a model now, and return when it is ready."""
    body = {} if keep_s is None else {"keep_s": keep_s}
    _show(_ask(config, data, "POST", model, "load", body), as_json=as_json)


@models.command()
@_served
def unload(model: str, config: Path | None, data: Path | None, as_json: bool) -> None:
    """Unload a model: now, or when its work is done."""
    _show(_ask(config, data, "POST", model, "unload"), as_json=as_json)


@models.command()
@click.option("--off", is_flag=True, help="Take the pin away.")
@_served
def pin(model: str, off: bool, config: Path | None, data: Path | None, as_json: bool) -> None:
    """Never unload a model for others once it is loaded."""
    _show(_ask(config, data, "POST", model, "pin", {"pinned": not off}), as_json=as_json)


@models.command()
@click.argument("model")
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--reset", is_flag=True, help="Take everything back first.")
@_asking
def options(
    model: str,
    changes: tuple[str, ...],
    reset: bool,
    config: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Show the options of a model, or set some: context=8192 pinned=true aliases='["gpt-4"]'.

    An empty value clears an option.
    """
    wanted = _changes(changes)
    found = _ask(config, data, "DELETE" if reset else "GET", model, "options")
    if wanted:
        found = _ask(config, data, "PATCH", model, "options", wanted)
    if as_json:
        put_json(found)
        return
    put(
        table([_option_row(known, found) for known in found["known"]], header=["option", "set", "", "may be"])
    )
    if found["changed_by"] is not None:
        say(f"last changed by {found['changed_by']} at {found['changed_at']}")
    if found["stale"]:
        say(f"{', '.join(found['stale'])}: from the next load on (`inglenook models unload {model}`)")


def _changes(written: tuple[str, ...]) -> dict[str, Any]:
    """Values as JSON where they are, else as the text that was written."""
    wanted: dict[str, Any] = {}
    for change in written:
        name, equals, value = change.partition("=")
        if not equals:
            raise click.UsageError(f"{change!r} is not NAME=VALUE")
        try:
            wanted[name] = None if value == "" else json.loads(value)
        except ValueError:
            wanted[name] = value
    return wanted


def _option_row(known: dict[str, Any], found: dict[str, Any]) -> list[str]:
    name = known["name"]
    value = found["options"].get(name)
    shown = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return [name, shown, "at load" if known["at_load"] else "", known["accepts"]]


def _show(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        put_json(state)
        return
    rows = [
        ["model", state["model"]],
        ["state", state["state"] + (", goes when its work is done" if state["leaving"] else "")],
        ["pinned", "yes" if state["pinned"] else "no"],
    ]
    if state["device"] is not None:
        rows += [["device", state["device"]], ["reserved", format_bytes(state["reserved_bytes"])]]
    if state["unload_in_s"] is not None:
        rows.append(["goes in", format_seconds(state["unload_in_s"])])
    if state["problem"] is not None:
        rows.append(["problem", state["problem"]])
    put(table(rows))


def _ask(
    config: Path | None,
    data: Path | None,
    method: str,
    model: str,
    what: str,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Raises Unavailable where no server runs."""
    from urllib.parse import quote

    from inglenook.cli.client import ServerClient, need_server

    folder = load_settings(config=config, data=data).settings.server.data
    path = f"/v1/models/{quote(model)}/{what}"

    async def ask() -> Any:
        async with ServerClient(need_server(folder)) as server:
            return await server.ask(method, path, body)

    found: dict[str, Any] = asyncio.run(ask())
    return found
