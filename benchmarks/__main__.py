# SPDX-License-Identifier: Apache-2.0
"""Measure what docs/benchmarks.md claims.

    python -m benchmarks                everything in one run, written into docs/benchmarks.md
    python -m benchmarks families page  these parts only, printed; the page stays as it is
    python -m benchmarks --write page   this part only, written over its section of the page

What needs a GPU is measured by `python -m benchmarks.accelerator`; the page shows what that wrote last into
`benchmarks/accelerator.json`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.leaves import with_sections

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
ON_A_GPU = Path(__file__).parent / "accelerator.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what the page claims.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(tables.SECTIONS)}")
    parser.add_argument("--write", action="store_true", help="write the parts into the page")
    asked = parser.parse_args()
    chosen = asked.parts
    unknown = [part for part in chosen if part not in tables.SECTIONS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(tables.SECTIONS)}")
    results = {part: _run(part) for part in chosen or tables.SECTIONS}
    if chosen and asked.write:
        PAGE.write_text(with_sections(PAGE.read_text(), sections(results), _note()))
        print(f"wrote {len(chosen)} of the parts into {PAGE.relative_to(ROOT)}")
    elif chosen:
        print("\n".join(sections(results)))
    else:
        PAGE.write_text(page(results, json.loads(ON_A_GPU.read_text()) if ON_A_GPU.exists() else None))
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


def sections(results: Mapping[str, dict[str, Any]]) -> list[str]:
    return [line for part, found in results.items() for line in tables.SECTIONS[part](found)]


def _note() -> str:
    """Below the heading of a section that was not measured with the rest of the page."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"In a run of its own, {datetime.now(UTC):%Y-%m-%d}, on {os.cpu_count()} cores, "
        f"load at its end {load} (1, 5 and 15 minutes)."
    )


def page(results: Mapping[str, dict[str, Any]], on_a_gpu: dict[str, Any] | None) -> str:
    """The whole page. Without figures of a GPU it says so."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Measured by `make benchmarks`, all in one run, each part in a process of its own; times are medians.",
            f"This run: {datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, load at its end {load} (1, 5 and 15 minutes), no GPU, one thread for numbers.",
            "",
            *sections(results),
            *(
                tables.accelerator(on_a_gpu)
                if on_a_gpu is not None
                else [
                    "Not measured: anything on a GPU. Who has one runs `python -m benchmarks.accelerator --out "
                    "benchmarks/accelerator.json`;",
                    "the figures then stand here.",
                    "",
                ]
            ),
        ]
    )


if __name__ == "__main__":
    main()
