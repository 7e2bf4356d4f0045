# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio export`: a trained network as a file that runs elsewhere, or is served here."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from inglenook.base.errors import Conflict, NotFound
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say
from inglenook.cli.studio_import import followed, project_named, there_are

Json = Mapping[str, Any]


@click.command(name="export")
@click.argument("project")
@click.argument("experiment")
@click.option("--checkpoint", default="best", show_default=True, help="best or last.")
@click.option(
    "--format", "format_", type=click.Choice(["onnx", "torchscript"]), default="onnx", show_default=True
)
@click.option(
    "--opset", type=click.IntRange(13, 23), default=18, show_default=True, help="Of ONNX's operators."
)
@click.option("--baked", is_flag=True, help="The model takes pixels, 0 to 255, and normalises them itself.")
@click.option(
    "--int8", type=click.Choice(["none", "dynamic", "static"]), default="none", show_default=True,
    help="8-bit integers: of weights, or also of what is computed.",
)  # fmt: skip
@click.option("--fixed-batch", type=click.IntRange(1, 4096), help="Always so many pictures at a time.")
@click.option("--licence", default="", help="Of the file; stands in it and in its card.")
@click.option("--register", "name", help="Put it into the library under this name.")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Copy the files there.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@settings_options
def export_model(
    project: str,
    experiment: str,
    checkpoint: str,
    format_: str,
    opset: int,
    baked: bool,
    int8: str,
    fixed_batch: int | None,
    licence: str,
    name: str | None,
    out: Path | None,
    as_json: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Export EXPERIMENT of PROJECT (ids or names): a file that was checked on real pictures against the
    checkpoint, with a model card and a script that runs it."""
    from inglenook.cli.client import need_server

    if out is not None and out.exists() and any(out.iterdir()):
        raise click.UsageError(f"{out} is not empty")
    options: dict[str, Any] = {
        "opset_version": opset,
        "baked_preprocessing": baked,
        "quantization": int8,
        "licence": licence,
    }
    asked = {"checkpoint": checkpoint, "format": format_, "options": options, "batch": fixed_batch}
    address = need_server(load_settings(config=config, data=data).settings.server.data)
    record = asyncio.run(_export(address, project, experiment, asked, name, out))
    put_json(record) if as_json else _show(record)


async def _export(
    address: str, project: str, experiment: str, asked: dict[str, Any], name: str | None, out: Path | None
) -> Json:
    from inglenook.cli.client import ServerClient

    async with ServerClient(address) as client:
        made = await project_named(client, project)
        found = await experiment_named(client, made, experiment)
        batch = asked.pop("batch")
        if batch is not None:
            channels, height, width = 3, *_side(found)
            asked["options"] |= {"dynamic_axes": None, "input_shape": [batch, channels, height, width]}
        body = {"experiment_id": found["id"], **asked}
        job = (await client.post(f"/api/export/{made}?wait=false", body))["data"]
        await followed(client, str(job["id"]))
        path = f"/api/export/{made}/{job['export']['id']}"
        record: Json = (await client.get(path))["data"]
        if out is not None:
            files = {file: await client.bytes_at(f"{path}/files/{file}") for file in record["files"]}
            await asyncio.to_thread(_write, out, files)
            say(f"written into {out}: {', '.join(record['files'])}")
        if name is not None:
            say(f"made: {record['id']}")  # it stays, also where the name is taken
            record = (await client.post(f"{path}/register", {"name": name}))["data"]
        return record


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


async def experiment_named(client: Any, project: str, wanted: str) -> Json:
    """By its id or its name. Raises NotFound, Conflict."""
    there = (await client.get(f"/api/training/{project}/experiments"))["data"]["experiments"]
    found = [one for one in there if wanted == one["id"]] or [
        one for one in there if wanted.casefold() == one["name"].casefold()
    ]
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        raise Conflict(f"{len(found)} experiments are called {wanted!r}.", hint=f"name its id: {ids}")
    if not found:
        raise NotFound(f"There is no experiment {wanted!r}.", hint=there_are(there, wanted))
    return dict((await client.get(f"/api/training/{project}/experiments/{found[0]['id']}"))["data"])


def _side(experiment: Json) -> tuple[int, int]:
    """Height and width of what it was trained with, by its val pipeline. Raises Conflict where that does not
    tell."""
    for step in reversed(experiment["augmentations"]["val"]):
        size = step["params"].get("size")
        if step["name"] in ("Resize", "CenterCrop") and size is not None:
            sides = [size, size] if isinstance(size, int) else list(size)
            return int(sides[0]), int(sides[-1])
    raise Conflict(
        f"{experiment['name']} does not say of which size its pictures are.", hint="leave --fixed-batch out"
    )


def _show(record: Json) -> None:
    for note in record["notes"]:
        say(note)
    checked = record["validation"]
    say(
        f"checked on {checked['images']} pictures of the {checked['subset']} part: logits differ by "
        f"{checked['max_diff']:.2g} at most ({checked['tolerance']:.2g} is allowed)"
    )
    made = record["quantized"]
    if made is not None and made["accuracy_before"] is not None:
        say(
            f"8-bit integers: accuracy {made['accuracy_before']:.2%} before, {made['accuracy_after']:.2%} now"
        )
    where = record["registered"]
    served = (
        "" if where is None else f"; served as {where['model']}: inglenook predict {where['model']} PICTURE"
    )
    put(f"{record['id']}: {record['format']}, {record['output_size_mb']:.2f} MiB{served}")
