# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks`: measure everything in one run, and write docs/benchmarks.md."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    results = {name: _run(name) for name in ("server", "step_loop", "clients", "scheduler", "gallery")}
    PAGE.write_text(_page(results))
    print(f"wrote {PAGE.relative_to(ROOT)}")


def _run(name: str) -> dict[str, Any]:
    """Each in a process of its own, one after the other, so that none measures another's memory."""
    print(f"measuring {name} …", file=sys.stderr)
    run = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def _page(results: dict[str, Any]) -> str:
    server, loop, clients = results["server"], results["step_loop"], results["clients"]
    one, many, slow = (
        clients["one_client_pictures_per_s"],
        clients["eight_clients"],
        clients["eight_clients_and_a_slow_reader"],
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        "# Benchmarks",
        "",
        "Measured by `make benchmarks`, all in one run, each part in a process of its own; times are medians.",
        f"This run: {datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, load at its end {load} (1, 5 and 15 minutes), no GPU, one thread for numbers.",
        "",
        "## The server",
        "",
        "| what | measured | expected before |",
        "| --- | --- | --- |",
        f"| from the command to `/readyz`, first start on an empty folder | {server['first_start_s']:.2f} s | |",
        f"| the same, later starts | {server['start_s']:.2f} s | under 1 s of import and start |",
        f"| resident memory of the idle server | {server['idle_rss_mb']:.0f} MB | under 150 MB |",
        *(
            f"| `/health` {words}, p50 / p99 of {figures['samples']} | "
            f"{figures['p50']:.1f} / {figures['p99']:.1f} ms | {expected} |"
            for words, figures, expected in (
                ("idle", server["health_idle_ms"], ""),
                ("while a model loads", server["health_while_a_model_loads_ms"], "p99 under 50 ms"),
                ("while pictures are drawn", server["health_while_pictures_are_drawn_ms"], "p99 under 50 ms"),
            )
        ),
        "",
        "## Our step loop against `pipeline(...)`",
        "",
        "CPU seconds on one thread, in turn. Above 1: ours is faster. Expected: at least 0.97.",
        "",
        "| model | diffusers | ours | ratio of speeds |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {figures['diffusers_cpu_s']:.3f} s | {figures['ours_cpu_s']:.3f} s | **{figures['speed_ratio']:.3f}** |"
            for name, figures in loop.items()
        ),
        "",
        "## Eight clients at once",
        "",
        "The model that ships, whole requests over HTTP. All are one person, as long as there are no accounts, so fairness",
        "here is that of arrival; turns between people are measured with the scheduler's tests.",
        "",
        "| what | measured |",
        "| --- | --- |",
        f"| one client alone | {one:.2f} pictures/s |",
        f"| eight clients | {many['pictures_per_s']:.2f} pictures/s "
        f"({clients['throughput_ratio_eight_to_one']:.2f} times one client) |",
        f"| wait, median / longest | {many['median_wait_s']:.2f} / {many['longest_wait_s']:.2f} s |",
        f"| largest mean wait of a client over the smallest | {many['largest_mean_wait_over_smallest']:.2f} |",
        f"| eight clients beside one that never reads its stream | {slow['pictures_per_s']:.2f} pictures/s "
        f"({clients['throughput_ratio_with_to_without_slow_reader']:.2f} of the throughput without it, "
        "whose own picture is drawn too) |",
        "",
        "## The scheduler alone",
        "",
        "Fake engines, no processes.",
        "",
        "```json",
        json.dumps(results["scheduler"], indent=1),
        "```",
        "",
        *_gallery(results["gallery"]),
        "Not measured: anything on a GPU.",
        "",
    ]
    return "\n".join(lines)


def _gallery(found: dict[str, Any]) -> list[str]:
    """The section about a large gallery; a column for each database that is installed."""
    databases = [name for name in ("sqlite", "postgresql") if name in found]
    return [
        f"## A gallery of {found['pictures']:,} pictures",
        "",
        "Calls of the gallery's service, records read and all, in milliseconds; a page is 48 pictures.",
        "",
        f"| what | {' | '.join(databases)} |",
        f"| --- |{' --- |' * len(databases)}",
        *(
            f"| {what} | {' | '.join(str(found[name]['ms'][what]) for name in databases)} |"
            for what in found[databases[0]]["ms"]
        ),
        "",
    ]


if __name__ == "__main__":
    main()
