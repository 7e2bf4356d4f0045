# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run and say what their tables show. Not how fast anything is: that is for their own page."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from benchmarks import __main__ as all_parts
from benchmarks import joins, leaves, page, tables

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def answer(kind: str, text: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": f"{kind}; charset=utf-8"}, text=text)


def test_every_section_has_a_module_that_measures_it() -> None:
    assert [part for part in tables.SECTIONS if importlib.util.find_spec(f"benchmarks.{part}") is None] == []


def test_a_part_that_is_not_there_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "famlies"])
    with pytest.raises(SystemExit):
        all_parts.main()
    told = capsys.readouterr().err
    assert "no part 'famlies'" in told
    assert "families" in told


def test_the_page_says_so_when_no_gpu_was_measured() -> None:
    assert "Not measured: anything on a GPU" in all_parts.page({}, None)


HANDMADE = """# Benchmarks

## The server

| a |

## In runs of their own

### Sprites

old

## Models of real size on a GPU

| b |"""


def test_a_part_replaces_its_own_section_at_its_depth_and_nothing_else() -> None:
    found = leaves.with_sections(HANDMADE, ["## Sprites", "", "new", ""], "Measured alone.")
    assert found == HANDMADE.replace("old\n", "Measured alone.\n\nnew\n")


def test_a_part_that_the_page_lacks_comes_before_what_a_gpu_did() -> None:
    found = leaves.with_sections(HANDMADE, ["## New", "", "1", "", "## Newer", "", "2", ""], "Alone.")
    parts = found.split("## ")
    assert [part.split("\n")[0] for part in parts[1:]] == [
        "The server", "In runs of their own", "Sprites", "New", "Newer", "Models of real size on a GPU"
    ]  # fmt: skip
    assert found.endswith(
        "## New\n\nAlone.\n\n1\n\n## Newer\n\nAlone.\n\n2\n\n## Models of real size on a GPU\n\n| b |"
    )


PAGE = """
<link rel="stylesheet" href="/a.css"> <link rel="canonical" href="/no"> <script defer src="/b.js"></script>
<a href="/no"></a> <img src="/c.svg"> <img src="/no" loading="lazy">
<div hx-get="/d" hx-trigger="load, every 5s"></div> <div hx-get="/no" hx-trigger="click"></div>
"""
SHEET = "@import 'x.css'; a { background: url(y.svg) } b { background: url('data:z') }"
SCRIPT = "import { a } from './a.js';\nconst b = 'import c';\nimport './d.js'"


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("text/html", PAGE, ["/a.css", "/b.js", "/c.svg", "/d"]),
        ("text/css", SHEET, ["x.css", "y.svg"]),
        ("text/javascript", SCRIPT, ["./a.js", "./d.js"]),
        ("image/svg+xml", '<image href="/no"/>', []),
    ],
)
def test_what_a_browser_fetches_by_itself_is_found(kind: str, text: str, named: list[str]) -> None:
    assert list(page.named_in(answer(kind, text))) == named


def test_a_seam_between_the_halves_of_a_picture_is_none_and_one_between_strangers_is() -> None:
    ramp = np.zeros((8, 32, 4), np.uint8)
    ramp[..., :3] = np.arange(0, 256, 8, dtype=np.uint8)[:, None]
    ramp[..., 3] = 255
    left, right = ramp[:, :16], ramp[:, 16:]
    assert joins.join(left, right).error == pytest.approx(1, abs=0.5)
    assert joins.join(left, right).rank < 1
    assert joins.join(right, left).error > 10
    assert joins.join(right, left).rank == 1
    assert joins.worst(ramp).error == joins.join(ramp, ramp).error  # below itself it joins


@pytest.mark.slow
@pytest.mark.parametrize("part", ["lora", "prompts"])
def test_a_part_measures_what_its_table_shows(part: str) -> None:
    lines = tables.SECTIONS[part](run(f"benchmarks.{part}", "1"))
    assert sum(line.startswith("| ") for line in lines) > 3


@pytest.mark.slow
def test_known_sprites_come_back_and_drawings_keep_what_is_promised() -> None:
    found = run("benchmarks.pixels", "--sprites", "1", "--alone")
    sharp = found["truth"]["by_spoil"]["sharp"]["ours"]
    assert (sharp["size"], sharp["exact"], sharp["cells"]) == (1, 1, 1)
    before, after = (found["starter"]["ways"][way] for way in ("before", "ours"))
    assert before["half"] > 0
    assert before["colors"] > 16
    assert after["half"] == 0
    assert after["alphas"] <= 2
    assert after["colors"] <= 16
    beside = found["joins"]["beside"]
    assert beside["other half"]["error"] < beside["itself"]["error"]
    assert all(one["pictures"] == 70 for one in found["held_out"]["makers"].values())
    shown = "\n".join(tables.SECTIONS["pixels"](found))
    assert "no package in this run" in shown
    assert "| ours, told the size | told | " in shown


@pytest.mark.slow
def test_a_model_of_every_family_is_drawn_alike_by_the_code_for_a_gpu(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    options = "--tiny --device cpu --no-compile --rounds 1 --out"
    found = run("benchmarks.accelerator", *options.split(), str(out))
    assert json.loads(out.read_text()) == found
    assert list(found["models"]) == ["sd15", "sdxl", "flux"]
    for kinds in found["models"].values():
        assert kinds["as it is"]["largest_difference_of_255"] <= 1
        assert kinds["as it is"]["ours"]["steps_per_s"] > 0
    shown = "\n".join(tables.accelerator(found))
    assert "sdxl, 64², float32, 4 steps" in shown
    assert "step 1" in shown
