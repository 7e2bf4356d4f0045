# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio list/train/watch/stop/resume/restart`: experiments of the running server."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inglenook.base.errors import Cancelled, Conflict, Failed, NotFound
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import Progress, put, put_json, say, table
from inglenook.cli.studio_import import project_named, there_are

if TYPE_CHECKING:
    from inglenook.cli.client import ServerClient

Json = dict[str, Any]
SUBSETS = ("train", "val", "test")


@click.command(name="list")
@click.argument("project", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def listing(project: str | None, as_json: bool, config: Path | None, data: Path | None) -> None:
    """List projects; with PROJECT (its id or its name), its splits and experiments."""

    async def ask(client: "ServerClient") -> Any:
        if project is None:
            return (await client.get("/api/projects"))["data"]
        found = await project_named(client, project)
        splits = (await client.get(f"/api/splits/{found}"))["data"]
        return splits | (await client.get(f"/api/training/{found}/experiments"))["data"]

    found = with_server(config, data, ask)
    if as_json:
        put_json(found)
    elif project is None:
        rows = [[it["id"], it["name"], it["task"]] for it in found["projects"]]
        if rows:
            put(table(rows, header=["project", "name", "task"]))
        else:
            say("no projects; `inglenook studio import --new NAME FOLDER` makes one")
    else:
        _show_lists(found)


def _show_lists(found: Json) -> None:
    splits = [[it["name"], *(str(it["stats"][part]) for part in SUBSETS)] for it in found["splits"]]
    if splits:
        put(table(splits, header=["split", *SUBSETS]))
    rows = [
        [it["id"], it["name"], it["status"], it["backbone"], f"{it['epoch']}/{it['max_epochs']}", _best(it)]
        for it in found["experiments"]
    ]
    if rows:
        put(table(rows, header=["experiment", "name", "status", "network", "epochs", "best"]))
    if not splits and not rows:
        say("no splits and no experiments")


def _best(summary: Json) -> str:
    value = summary["best_metric_value"]
    return "-" if value is None else f"{value:.4f}"


@click.command()
@click.argument("project")
@click.option("--name", help="Of the experiment; a number without it.")
@click.option("--split", "split_name", help="Name of the split; the first one without it.")
@click.option(
    "--preset", type=click.Choice(["quick", "balanced", "best"]), help="A configuration to begin with."
)
@click.option("--backbone", help="The network, like resnet18.")
@click.option(
    "--pretrained/--from-scratch",
    default=None,
    help="Begin with weights that somebody has trained, or not at all; or with random ones. Without either:"
    " trained ones where they are at hand, else random ones, and it says which.",
)
@click.option("--epochs", type=click.IntRange(1, 1000), help="Times that it sees every picture.")
@click.option("--batch-size", type=click.IntRange(1, 256), help="Pictures at once.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="The highest learning rate.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="The same seed trains alike.")
@click.option("--device", "devices", multiple=True, help="auto, cpu, gpu or gpu:0; may be given often.")
@click.option("--spec", type=click.File("rb"), help="A configuration as JSON, as …/config.json gives it.")
@click.option("--detach", is_flag=True, help="Do not watch: print the experiment's id at once.")
@settings_options
def train(
    project: str,
    name: str | None,
    split_name: str | None,
    preset: str | None,
    backbone: str | None,
    pretrained: bool | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
    devices: tuple[str, ...],
    spec: Any,
    detach: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Make an experiment of PROJECT, train it, and show how it goes.

    Ctrl-C asks it to stop and keeps a checkpoint; a second one leaves it running on the server.
    """
    asked = _asked(
        spec,
        {"name": name, "split_name": split_name, "preset": preset},
        model={"backbone": backbone, "pretrained": pretrained},
        hyperparameters={
            "max_epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
        },
        hardware={"selected_devices": list(devices) or None},
    )

    async def ask(client: "ServerClient") -> Any:
        path = f"/api/training/{await project_named(client, project)}/experiments"
        made = (await client.post(path, asked))["data"]
        await client.post(f"{path}/{made['id']}/train")
        if not detach:
            say(f"{made['id']}: {made['name']}, {made['model']['backbone']}, split {made['split_name']}")
            await _watched(client, path, made["id"])
        return made["id"]

    put(with_server(config, data, ask))


def _asked(spec: Any, texts: Mapping[str, str | None], **parts: Mapping[str, Any]) -> Json:
    """The body of an experiment: the file first, then what the command line says. Raises UsageError."""
    import json

    try:
        body = {} if spec is None else json.load(spec)
    except ValueError as error:
        raise click.UsageError(f"--spec holds no JSON: {error}") from None
    if not isinstance(body, dict):
        raise click.UsageError("--spec must hold a JSON object")
    body |= {name: text for name, text in texts.items() if text is not None}
    for part, members in parts.items():
        given = {name: value for name, value in members.items() if value is not None}
        if given:
            body[part] = {**body.get(part, {}), **given}
    return body


@click.command()
@click.argument("project")
@click.argument("experiment")
@settings_options
def watch(project: str, experiment: str, config: Path | None, data: Path | None) -> None:
    """Show how EXPERIMENT (its id or its name) goes, until it ends. Ctrl-C asks it to stop."""

    async def ask(client: "ServerClient") -> None:
        path, found = await _experiment(client, project, experiment)
        await _watched(client, path, found)

    with_server(config, data, ask)


@click.command()
@click.argument("project")
@click.argument("experiment")
@settings_options
def stop(project: str, experiment: str, config: Path | None, data: Path | None) -> None:
    """Stop EXPERIMENT; a checkpoint is kept."""

    async def ask(client: "ServerClient") -> Any:
        path, found = await _experiment(client, project, experiment)
        return (await client.post(f"{path}/{found}/stop"))["data"]["status"]

    put(with_server(config, data, ask))


@click.command()
@click.argument("project")
@click.argument("experiment")
@click.option("--detach", is_flag=True, help="Do not watch.")
@settings_options
def resume(project: str, experiment: str, detach: bool, config: Path | None, data: Path | None) -> None:
    """Go on with EXPERIMENT from its last checkpoint."""

    async def ask(client: "ServerClient") -> None:
        path, found = await _experiment(client, project, experiment)
        await client.post(f"{path}/{found}/resume")
        if not detach:
            await _watched(client, path, found)

    with_server(config, data, ask)


@click.command()
@click.argument("project")
@click.argument("experiment")
@click.option("--detach", is_flag=True, help="Do not watch.")
@settings_options
def restart(project: str, experiment: str, detach: bool, config: Path | None, data: Path | None) -> None:
    """Train EXPERIMENT anew: its checkpoints, figures and evaluations are deleted first."""

    async def ask(client: "ServerClient") -> None:
        path, found = await _experiment(client, project, experiment)
        await client.post(f"{path}/{found}/restart")
        await client.post(f"{path}/{found}/train")
        if not detach:
            await _watched(client, path, found)

    with_server(config, data, ask)


# -- asking ------------------------------------------------------------------------------------------------


def with_server(
    config: Path | None, data: Path | None, ask: Callable[["ServerClient"], Awaitable[Any]]
) -> Any:
    """Raises Unavailable where no server runs."""
    from inglenook.cli.client import ServerClient, need_server

    address = need_server(load_settings(config=config, data=data).settings.server.data)

    async def run() -> Any:
        async with ServerClient(address) as client:
            return await ask(client)

    return asyncio.run(run())


async def _experiment(client: "ServerClient", project: str, wanted: str) -> tuple[str, str]:
    """The path of the project's experiments, and the id. Raises NotFound, Conflict."""
    path = f"/api/training/{await project_named(client, project)}/experiments"
    there = (await client.get(path))["data"]["experiments"]
    found = [it["id"] for it in there if it["id"] == wanted]
    found = found or [it["id"] for it in there if it["name"].casefold() == wanted.casefold()]
    if not found:
        raise NotFound(f"There is no experiment {wanted!r} in the project.", hint=there_are(there, wanted))
    if len(found) > 1:
        raise Conflict(
            f"{len(found)} experiments are called {wanted!r}.", hint=f"name one by its id: {found}"
        )
    return path, found[0]


async def _watched(client: "ServerClient", path: str, experiment: str) -> None:
    """Show its progress until it ends.

    Raises:
        Failed: it has failed. Cancelled: it was stopped.
    """
    from inglenook.cli.client import server_events

    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[Any]] = []

    def asked_to_stop() -> None:
        if stops:  # a second time: leave it alone
            loop.remove_signal_handler(signal.SIGINT)
        say("asking it to stop (Ctrl-C again leaves it running)")
        stops.append(loop.create_task(client.post(f"{path}/{experiment}/stop")))

    loop.add_signal_handler(signal.SIGINT, asked_to_stop)
    status = ""
    try:
        with Progress(sys.stderr) as progress:
            async with client.stream("GET", f"{path}/{experiment}/stream") as response:
                async for event, told in server_events(response):
                    status = told.get("status", status)
                    _show(progress, event, told)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await asyncio.gather(*stops, return_exceptions=True)
    await _ended(client, path, experiment, status)


def _show(progress: Progress, event: str, told: Json) -> None:
    match event:
        case "status":
            progress.message(str(told["status"]))
        case "batch":
            what = "training" if told["stage"] == "train" else "validating"
            label = f"epoch {told['epoch']} of {told['epochs']}, {what}"
            progress.update(told["progress"], label, estimate_s=told["estimate_s"])
        case "epoch_end":
            progress.message(f"epoch {told['epoch']}{' (best)' if told['best'] else ''}: {_figures(told)}")
        case "notice" | "parking" if told.get("text"):
            progress.message(str(told["text"]))


def _figures(record: Json) -> str:
    """Of an epoch, those by which people judge it; the experiment's metrics.csv has all."""
    words = []
    for name in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_f1_macro"):
        if isinstance(record.get(name), float):
            low, high = record.get(f"{name}_low"), record.get(f"{name}_high")
            sure = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
            words.append(f"{name} {record[name]:.4g}{sure}")
    if isinstance(record.get("duration_s"), float):
        words.append(f"{record['duration_s']:.3g} s")
    return ", ".join(words)


async def _ended(client: "ServerClient", path: str, experiment: str, status: str) -> None:
    found = (await client.get(f"{path}/{experiment}"))["data"]
    if status == "failed" and found["error"] is not None:
        raise Failed(found["error"]["message"], code=found["error"]["type"], hint=found["error"]["hint"])
    if status == "cancelled":
        raise Cancelled(f"{found['name']} was stopped after epoch {found['epoch']}.", hint="`resume` goes on")
    if found["best_metric"]:
        (name, value), *_ = found["best_metric"].items()
        say(f"best: epoch {found['best_epoch']}, {name} {value:.4f}")
