# SPDX-License-Identifier: Apache-2.0
"""`inglenook jobs`: what the running server is working on, and what became of earlier work."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from inglenook.base.units import format_seconds
from inglenook.cli.options import load_settings, settings_options
from inglenook.cli.screen import put, put_json, say, table

Json = dict[str, Any]
_STATES = ("queued", "waiting", "running", "paused", "succeeded", "failed", "cancelled", "interrupted")


@click.group(invoke_without_command=True)
@click.pass_context
def jobs(ctx: click.Context) -> None:
    """List jobs, look at one, cancel it or do it again."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(listing)


@jobs.command(name="list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(_STATES), help="Only these; can be repeated."
)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def listing(
    states: tuple[str, ...] = (),
    limit: int = 20,
    as_json: bool = False,
    config: Path | None = None,
    data: Path | None = None,
) -> None:
    """List jobs, the last first."""
    params = [("limit", str(limit)), *(("state", state) for state in states)]
    found = _ask(config, data, "GET", "/v1/jobs", params)["data"]
    if as_json:
        put_json(found)
    elif not found:
        say("no jobs")
    else:
        put(table([_row(job) for job in found], header=["job", "state", "", "kind", "created", "title"]))


@jobs.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@settings_options
def show(job: str, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Print everything about one job."""
    found = _ask(config, data, "GET", f"/v1/jobs/{job}")
    if as_json:
        put_json(found)
    else:
        put(table(_details(found)))


@jobs.command()
@click.argument("job")
@settings_options
def cancel(job: str, config: Path | None, data: Path | None) -> None:
    """Stop a job, and tell what that did."""
    from inglenook.cli.drawing import receipt_text

    found = _ask(config, data, "POST", f"/v1/jobs/{job}/cancel")
    put(f"{job}: {receipt_text(found)}")


@jobs.command()
@click.argument("job")
@settings_options
def retry(job: str, config: Path | None, data: Path | None) -> None:
    """Do again what failed, was cancelled or was interrupted; print the new job's id."""
    put(str(_ask(config, data, "POST", f"/v1/jobs/{job}/retry")["id"]))


def _ask(
    config: Path | None,
    data: Path | None,
    method: str,
    path: str,
    params: Sequence[tuple[str, str]] = (),
) -> Any:
    """The running server's answer. Raises Unavailable where none runs."""
    from inglenook.cli.client import ServerClient, need_server

    address = need_server(load_settings(config=config, data=data).settings.server.data)

    async def ask() -> Any:
        async with ServerClient(address) as client:
            return await (client.get(path, params) if method == "GET" else client.post(path))

    return asyncio.run(ask())


def _row(job: Json) -> list[str]:
    share = f"{int(job['progress'] * 100)} %" if job["state"] == "running" else ""
    return [job["id"], job["state"], share, job["kind"], _moment(job["created_at"]), job["title"][:60]]


def _moment(text: str | None) -> str:
    """An ISO 8601 time as the clock on the wall shows it."""
    return "-" if text is None else f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def _details(job: Json) -> list[list[str]]:
    rows = [
        ["id", job["id"]],
        ["title", job["title"]],
        ["kind", job["kind"]],
        ["class", job["work_class"]],
        ["state", job["state"]],
        ["progress", f"{int(job['progress'] * 100)} %"],
        ["created", _moment(job["created_at"])],
        ["started", _moment(job["started_at"])],
        ["finished", _moment(job["finished_at"])],
        ["cost", format_seconds(job["cost_s"])],
    ]
    if job.get("explanation"):
        rows.append(["waits for", str(job["explanation"].get("reason", {}).get("text", ""))])
    if job.get("error"):
        rows.append(["error", f"{job['error']['message']} [{job['error']['code']}]"])
        if job["error"].get("hint"):
            rows.append(["hint", job["error"]["hint"]])
    if job.get("receipt"):
        rows.append(["stopped", job["receipt"]["how"]])
    return rows + [
        ["picture", f"{part['picture_id']}  {part['width']}x{part['height']}, seed {part['seed']}"]
        for part in job["result"].get("parts", [])
    ]
