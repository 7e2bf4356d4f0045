# SPDX-License-Identifier: Apache-2.0
"""`inglenook studio evaluate`: what a checkpoint is worth on pictures that it has not learned from."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from inglenook.base.errors import NotFound
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, table
from inglenook.cli.studio_export import experiment_named
from inglenook.cli.studio_import import followed, project_named

if TYPE_CHECKING:
    from inglenook.cli.client import ServerClient

Json = Mapping[str, Any]
FILES: Final = (
    *("aggregate.json", "results.csv", "per_class.csv", "confusion_matrix.csv", "curves.csv"),
    *("reliability.csv", "confusion_matrix.png", "roc.png", "precision_recall.png", "reliability.png"),
)


@click.command(name="evaluate")
@click.argument("project")
@click.argument("experiment")
@click.option("--checkpoint", default="best", show_default=True, help="best or last.")
@click.option(
    "--subset",
    "subsets",
    multiple=True,
    type=click.Choice(["train", "val", "test"]),
    help="Part of the split; several may be given.  [default: test]",
)
@click.option("--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:0 …")
@click.option("--again", is_flag=True, help="Although it has been evaluated; the earlier one is kept.")
@click.option("--show", is_flag=True, help="Evaluate nothing: print the newest evaluation.")
@click.option("--compare", "other", help="With another EXPERIMENT, on the pictures that both looked at.")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), help="Write all files there.")
@click.option("--json", "as_json", is_flag=True, help="Print the record with all figures as JSON.")
@settings_options
def evaluate_model(
    project: str,
    experiment: str,
    checkpoint: str,
    subsets: tuple[str, ...],
    batch_size: int,
    device: str,
    again: bool,
    show: bool,
    other: str | None,
    out: Path | None,
    as_json: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Evaluate a checkpoint of EXPERIMENT of PROJECT (ids or names), and print its figures."""
    from inglenook.cli.client import need_server

    address = need_server(load_settings(config=config, data=data).settings.server.data)
    if out is not None and out.exists() and any(out.iterdir()):
        raise click.UsageError(f"{out} is not empty")
    asked = {
        "checkpoint": checkpoint,
        "split_subsets": list(subsets or ("test",)),
        "batch_size": batch_size,
        "device": device,
    }
    found, compared = asyncio.run(
        _evaluate(address, project, experiment, None if show else asked, again, other, out)
    )
    if as_json:
        put_json(found | ({} if compared is None else {"comparison": compared}))
        return
    _show(found)
    if compared is not None:
        _show_comparison(compared)


async def _evaluate(
    address: str,
    project: str,
    experiment: str,
    asked: Json | None,
    again: bool,
    other: str | None,
    out: Path | None,
) -> tuple[dict[str, Any], Json | None]:
    from inglenook.cli.client import ServerClient

    async with ServerClient(address) as client:
        made = await project_named(client, project)
        chosen = await experiment_named(client, made, experiment)
        path = f"/api/evaluation/{made}/{chosen['id']}"
        if asked is not None:
            order = f"{path}?wait=false" + ("&again=true" if again else "")
            job = (await client.post(order, asked))["data"]
            await followed(client, str(job["id"]))
        found: dict[str, Any] = (await client.get(path))["data"]
        if found["aggregate"] is None:
            record = found["evaluation"]
            raise NotFound(f"The evaluation is {record['status']}.", hint=record["error"])
        compared = None
        if other is not None:
            against = await experiment_named(client, made, other)
            compared = (await client.get(f"{path}/compare?other={against['id']}"))["data"]
        if out is not None:
            await _save(client, path, out)
        return found, compared


async def _save(client: "ServerClient", path: str, out: Path) -> None:
    files = {name: await client.bytes_at(f"{path}/files/{name}") for name in FILES}

    def write() -> None:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (out / name).write_bytes(data)

    await asyncio.to_thread(write)
    say(f"written into {out}: {', '.join(files)}")


def _show(found: Json) -> None:
    record, figures = found["evaluation"], found["aggregate"]
    sure = figures["accuracy_interval"]
    put(
        f"{record['id']}: {record['checkpoint']} (epoch {record['checkpoint_epoch']}) on "
        f"{figures['count']} pictures of {' + '.join(record['split_subsets'])} of {record['split_name']}"
    )
    for count, why in ((record["unreadable"], "could not be read"), *_left_out(record)):
        if count:
            say(f"{count} pictures {why}")
    put(f"accuracy {_share(figures['accuracy'])} ({_share(sure['low'])} to {_share(sure['high'])}, 95 %)")
    put(
        f"macro: precision {_share(figures['precision_macro'])}, recall {_share(figures['recall_macro'])}, "
        f"F1 {_share(figures['f1_macro'])}; loss {_number(figures['loss'])}, "
        f"ECE {_number(figures['calibration']['ece'])}"
    )
    rows = [
        [
            name,
            str(one["support"]),
            *(_share(one[key]) for key in ("precision", "recall", "f1", "roc_auc", "average_precision")),
        ]
        for name, one in figures["per_class"].items()
    ]
    put(table(rows, header=["class", "pictures", "precision", "recall", "F1", "AUC", "AP"]))


def _left_out(record: Json) -> list[tuple[int, str]]:
    words = {"gone": "are no longer in the data set", "unlabelled": "have no class that it learned"}
    return [(count, words.get(why, f"left out: {why}")) for why, count in record["left_out"].items()]


def _show_comparison(said: Json) -> None:
    first, second = said["first"]["experiment"], said["second"]["experiment"]
    difference = said["difference"]
    put(
        f"on {said['pictures']} pictures: {first} {_share(said['accuracy']['first'])}, "
        f"{second} {_share(said['accuracy']['second'])}; difference {_points(difference['value'])} "
        f"({_points(difference['low'])} to {_points(difference['high'])}, 95 %)"
    )
    put(
        f"only {first} is right on {said['only_first_right']}, only {second} on {said['only_second_right']}; "
        f"p = {said['p_value']:.3g} ({said['test']})"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.2f} points"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
