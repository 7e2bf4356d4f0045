# SPDX-License-Identifier: Apache-2.0
"""The terminal as a person uses it: real processes, the real server, the model that ships."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from inglenook.store.lock import running
from inglenook.testing.server import RunningServer

pytestmark = pytest.mark.slow

ENVIRON = {"INGLENOOK_RUNTIME__CPU_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def start(
    *arguments: str, folder: Path, data: Path, environ: Mapping[str, str] = {}
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "inglenook", *arguments, "--data", str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | ENVIRON | dict(environ),
    )


def run(*arguments: str, folder: Path, data: Path) -> Done:
    child = start(*arguments, folder=folder, data=data)
    out, err = child.communicate(timeout=120)
    return Done(child.returncode, out, err)


def pixels(file: Path) -> bytes:
    with Image.open(file) as picture:
        return picture.convert("RGB").tobytes()


def test_the_same_seed_draws_the_same_picture_with_and_without_a_server(
    server: RunningServer, tmp_path: Path
) -> None:
    order = ("image", "a red fox", "--seed", "7", "--steps", "4", "-o")
    by_server = run(*order, "served.png", folder=tmp_path, data=server.data)
    assert by_server.code == 0, by_server.err
    assert by_server.out == "served.png\n"
    assert "seed 7" in by_server.err

    alone = tmp_path / "data"
    by_itself = run(*order, "alone.png", folder=tmp_path, data=alone)
    assert by_itself.code == 0, by_itself.err
    assert by_itself.out == "alone.png\n"
    first, *_, made, last = by_itself.err.splitlines()
    assert first == "no server is running; drawing here"
    assert made == "picture 1: 512x512, seed 7"
    assert last.startswith("done in ")
    assert running(alone) is None
    assert not (alone / "server.json").exists()

    assert pixels(tmp_path / "served.png") == pixels(tmp_path / "alone.png")
    with Image.open(tmp_path / "served.png") as picture:
        assert "a red fox" in picture.info["parameters"]


def test_a_picture_drawn_without_a_server_is_in_the_list_of_the_next_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = run("image", "a blue cat", "--steps", "2", "-o", "cat.png", "--json", folder=tmp_path, data=data)
    assert done.code == 0, done.err
    with RunningServer.start(data, environ=ENVIRON):
        listed = run("jobs", "list", "--json", folder=tmp_path, data=data).json
        shown = run("jobs", "show", done.json["job"], folder=tmp_path, data=data)
    assert [(job["id"], job["state"]) for job in listed] == [(done.json["job"], "succeeded")]
    assert done.json["pictures"][0]["picture_id"] in shown.out


@pytest.mark.parametrize("with_server", [True, False])
def test_a_picture_is_changed_where_the_mask_says(
    server: RunningServer, tmp_path: Path, with_server: bool
) -> None:
    data = server.data if with_server else tmp_path / "data"
    Image.new("RGB", (512, 512), "teal").save(tmp_path / "in.png")
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (0, 0, 512, 256))
    mask.save(tmp_path / "mask.png")
    change = (
        "image",
        "a red fox",
        "--image",
        "in.png",
        "--mask",
        "mask.png",
        "--strength",
        "0.9",
        "--steps",
        "6",
    )
    done = run(*change, "-o", "out.webp", folder=tmp_path, data=data)
    assert done.code == 0, done.err
    with Image.open(tmp_path / "out.webp") as picture:
        assert picture.format == "WEBP"
        top = picture.convert("RGB").crop((0, 0, 512, 200)).resize((1, 1), Image.Resampling.BOX)
        bottom = picture.convert("RGB").crop((0, 312, 512, 512)).resize((1, 1), Image.Resampling.BOX)
    changed, kept = top.getpixel((0, 0)), bottom.getpixel((0, 0))
    assert isinstance(kept, tuple)
    assert isinstance(changed, tuple)
    assert max(abs(a - b) for a, b in zip(kept, (0, 128, 128), strict=True)) < 24
    assert max(abs(a - b) for a, b in zip(changed, (0, 128, 128), strict=True)) > 24


def _interrupt_after_the_first_picture(child: "subprocess.Popen[str]") -> tuple[Done, list[psutil.Process]]:
    """What it said, and the processes that it had started when it was interrupted."""
    assert child.stderr is not None
    assert child.stdout is not None
    guard = threading.Timer(240, child.kill)
    guard.start()
    said: list[str] = []
    family: list[psutil.Process] = []
    for line in child.stderr:
        said.append(line)
        if line.startswith("picture 1:"):
            family = psutil.Process(child.pid).children(recursive=True)
            child.send_signal(signal.SIGINT)
    with child:
        out = child.stdout.read()
    guard.cancel()
    return Done(child.returncode, out, "".join(said)), family


MANY = ("image", "a red fox", "--steps", "100", "-n", "8", "-o", "fox.png")


def test_an_interrupt_cancels_what_the_server_draws_and_keeps_what_is_finished(
    server: RunningServer, tmp_path: Path
) -> None:
    done, _ = _interrupt_after_the_first_picture(start(*MANY, folder=tmp_path, data=server.data))
    assert done.code == 130
    assert "cancelling …\nstopped in " in done.err
    made = done.out.split()
    assert made[0] == "fox-1.png"
    assert len(made) < 8
    assert sorted(file.name for file in tmp_path.glob("*.png")) == sorted(made)
    job = run("jobs", "list", "--limit", "1", "--json", folder=tmp_path, data=server.data).json[0]
    assert job["state"] == "cancelled"
    assert job["receipt"]["how"]


def test_an_interrupt_without_a_server_leaves_no_process_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done, family = _interrupt_after_the_first_picture(start(*MANY, folder=tmp_path, data=data))
    assert done.code == 130, done.err
    assert "cancelling …\nstopped in " in done.err
    assert family, "the picture was drawn by no process of its own"
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    assert running(data) is None


def test_a_job_can_be_cancelled_and_done_again_from_another_terminal(
    server: RunningServer, tmp_path: Path
) -> None:
    child = start(*MANY, folder=tmp_path, data=server.data)
    assert child.stderr is not None
    assert any(line.startswith("picture 1:") for line in iter(child.stderr.readline, ""))
    (job,) = run("jobs", "list", "--state", "running", "--json", folder=tmp_path, data=server.data).json
    done = run("jobs", "cancel", job["id"], folder=tmp_path, data=server.data)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{job['id']}: stopped in ")
    with child:
        err = child.stderr.read()
    assert child.returncode == 130
    assert f"error: The job {job['id']} was cancelled.\n" in err
    again = run("jobs", "cancel", job["id"], folder=tmp_path, data=server.data)
    assert (again.code, again.err) == (1, "error: The job is cancelled; there is nothing to stop.\n")

    new = run("jobs", "retry", job["id"], folder=tmp_path, data=server.data).out.strip()
    assert new != job["id"]
    shown = run("jobs", "show", new, "--json", folder=tmp_path, data=server.data).json
    assert shown["payload"] == job["payload"]
    assert run("jobs", "cancel", new, folder=tmp_path, data=server.data).code == 0


@pytest.mark.parametrize("with_server", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "starter-10"), "hint: nearest: starter-339; `auto` takes the default\n"),
        (("--size", "9999x64"), "error: "),
        (("--steps", "100000"), "error: "),
        (("--scheduler", "eular"), "euler"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(
    server: RunningServer, tmp_path: Path, with_server: bool, options: tuple[str, str], message: str
) -> None:
    data = server.data if with_server else tmp_path / "data"
    done = run("image", "a red fox", "-o", "fox.png", *options, folder=tmp_path, data=data)
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not (tmp_path / "fox.png").exists()


def test_the_doctor_finds_all_that_is_needed_and_the_server(server: RunningServer, tmp_path: Path) -> None:
    done = run("doctor", "--json", folder=tmp_path, data=server.data)
    assert done.code == 0, done.out
    found = {one["part"]: one for one in done.json}
    assert found["server"]["text"] == f"runs at {server.base_url} (process {server.pid})"
    assert found["database"]["text"].startswith("SQLite, schema ")
    assert "starter-339" in found["models"]["text"]
    assert found["cpu"]["mark"] == "ok"


def test_the_models_are_listed_with_what_is_wrong_with_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "models").mkdir(parents=True)
    (data / "models" / "broken.safetensors").write_bytes(b"\xff" * 64)
    done = run("models", folder=tmp_path, data=data)
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["model", "kind", "family", "size", "state"]
    assert ["starter-339", "image", "sd1"] in [row[:3] for row in rows]
    assert any(row[0] == "broken" and row[-3:] == ["cannot", "be", "used"] for row in rows)
    assert "broken: " in done.err
    listed = run("models", "--json", folder=tmp_path, data=data).json
    assert [one["id"] for one in listed if one["problem"] is None] == ["starter-339"]


def test_a_port_that_is_taken_is_told_with_who_has_it(server: RunningServer, tmp_path: Path) -> None:
    port = server.base_url.rpartition(":")[2]
    child = start("serve", "--port", port, folder=tmp_path, data=tmp_path / "data")
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"error: Port {port} on 127.0.0.1 is in use" in err
    assert "hint: " in err
    found = start(
        "doctor", "--json", folder=tmp_path, data=tmp_path / "data", environ={"INGLENOOK_SERVER__PORT": port}
    )
    out, _ = found.communicate(timeout=120)
    assert found.returncode == 1
    (finding,) = [one for one in json.loads(out) if one["part"] == "port"]
    assert finding["mark"] == "missing"
    assert f"(process {server.pid})" in finding["text"]


def test_pictures_and_alices_gallery_come_in_from_the_terminal(tmp_path: Path) -> None:
    shots = tmp_path / "shots"
    (shots / "images").mkdir(parents=True)
    for name in ("a1.png", "b2.png"):
        Image.new("RGB", (32, 24), "red" if name == "a1.png" else "blue").save(shots / "images" / name)
    (shots / "notes.png").write_bytes(b"no picture")
    listed = {"a1": {"prompt": "a cat", "model": "sd/dream"}, "gone": {"prompt": "lost"}}
    (shots / "gallery.json").write_text(json.dumps({"images": listed}))
    with RunningServer.start(tmp_path / "data", environ=ENVIRON):
        alice = run("import", "alice", str(shots), folder=tmp_path, data=tmp_path / "data")
        assert (alice.code, alice.out) == (0, "1 imported, 0 not\n")
        assert "gone.png: in the list, but there is no such file" in alice.err
        every = run("import", "pictures", str(shots), "--json", folder=tmp_path, data=tmp_path / "data")
        assert [len(every.json[name]) for name in ("data", "refused")] == [2, 1]
        assert every.json["refused"][0]["name"].endswith("notes.png")
    nobody = run("import", "pictures", str(shots), folder=tmp_path, data=tmp_path / "data")
    assert nobody.code == 1
    assert "hint: start one with `inglenook serve`" in nobody.err
