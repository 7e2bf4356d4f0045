# SPDX-License-Identifier: Apache-2.0
"""`inglenook engines install --release` against a stand-in for the project's page, on this machine.

It answers as the page's API does, and serves archives named as the project names them, with a small script
for a `llama-server` inside.
"""

import hashlib
import io
import json
import platform
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inglenook.cli import program
from inglenook.engines.llamacpp.found import LlamaPrograms, Source
from inglenook.outgoing.records import OutgoingRecords
from inglenook.store.database import Database, sqlite_url
from inglenook.testing.clock import FakeClock

pytestmark = pytest.mark.slow

MACHINE = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine().lower()]
SYSTEM = "macos" if sys.platform == "darwin" else "ubuntu"
BACKEND = "metal" if (SYSTEM, MACHINE) == ("macos", "arm64") else "cpu"


def llama_server(build: int) -> str:
    """A program that answers as llama-server does."""
    return f"""#!/bin/sh
if [ "$1" = --version ]; then echo 'version: 0.3.0-dev (build {build}, commit c1d0e7a00)' >&2; fi
if [ "$1" = --list-devices ]; then
  echo 'Available devices:'; echo '  Vulkan0: A GPU (6144 MiB, 5136 MiB free)'
fi
"""


def archive_of(script: str, *, build: int, more: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, to in (more or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, to
            archive.addfile(link)
        entry = tarfile.TarInfo(f"llama-b{build}/llama-server")
        entry.size, entry.mode = len(script.encode()), 0o755
        archive.addfile(entry, io.BytesIO(script.encode()))
    return packed.getvalue()


class Page:
    """The stand-in: what it answers by path, and the releases it lists."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.releases: list[dict[str, Any]] = []
        self.asked: list[str] = []
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.asked.append(self.path)
                status, headers, body = page.answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/releases?"):
            return 200, {"Content-Type": "application/json"}, json.dumps(self.releases).encode()
        for release in self.releases:
            if path == f"/releases/tags/{release['tag_name']}":
                return 200, {"Content-Type": "application/json"}, json.dumps(release).encode()
        return self.answers.get(path, (404, {}, b""))

    def publish(
        self,
        build: int,
        data: bytes,
        *,
        digest: str | None = None,
        moved: bool = True,
        size: int | None = None,
    ) -> None:
        """A release with one archive; its address redirects, as the page's does."""
        name = f"llama-b{build}-bin-{SYSTEM}-{MACHINE}.tar.gz"
        here, there = f"/download/b{build}/{name}", f"/objects/{build}"
        self.answers[there] = (200, {"Content-Type": "application/octet-stream"}, data)
        self.answers[here] = (302, {"Location": there}, b"")
        listed = f"sha256:{hashlib.sha256(data).hexdigest()}" if digest is None else digest
        asset = {
            "name": name,
            "state": "uploaded",
            "size": len(data) if size is None else size,
            "digest": listed,
            "browser_download_url": self.address + here,
        }
        self.releases.insert(0, {"tag_name": f"b{build}", "draft": False, "assets": [asset]})


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


class Bench:
    def __init__(self, page: Page, data: Path) -> None:
        self.page = page
        self.data = data
        self.own = data / "engines" / "llama.cpp"

    def run(self, *arguments: str, **environ: str) -> Result:
        given = {
            "INGLENOOK_LANGUAGE__RELEASES": f"{self.page.address}/releases",
            "INGLENOOK_OUTGOING__PRIVATE_HOSTS": "127.0.0.1",
            "INGLENOOK_OUTGOING__PORTS": str(self.page.port),
            **environ,
        }
        return CliRunner().invoke(program, ["engines", *arguments, "--data", str(self.data)], env=given)

    def install(self, *arguments: str, **environ: str) -> Result:
        return self.run("install", "llama.cpp", "--build", BACKEND, "--release", *arguments, **environ)

    def folders(self) -> list[str]:
        """What lies in our folder, half-made things among it."""
        return (
            sorted(path.name for path in self.own.iterdir() if path.name != ".lock")
            if self.own.exists()
            else []
        )


@pytest.fixture
def bench(page: Page, tmp_path: Path) -> Bench:
    return Bench(page, tmp_path / "data")


def test_the_newest_release_is_fetched_checked_tried_and_found(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462))
    done = bench.install()
    assert done.exit_code == 0, done.output
    assert f"llama.cpp build 11462 for {BACKEND}: installed in {bench.own / 'b11462'}" in done.stdout
    assert "set language.server to own" in done.stderr
    assert bench.folders() == ["b11462"]
    found = LlamaPrograms(setting="own", engines=bench.data / "engines").current()
    assert (found.source, found.path) == (Source.OWN, bench.own / "b11462" / "llama-server")
    assert (found.probe.build, found.probe.devices) == (11462, ("Vulkan0: A GPU",))
    note = json.loads((bench.own / "b11462" / "installed.json").read_bytes())
    assert (note["tag"], note["backend"]) == ("b11462", BACKEND)


def test_every_connection_stands_in_the_ledger(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462))
    bench.install()
    database = Database(sqlite_url(bench.data / "inglenook.db"))
    entries = OutgoingRecords(database=database, clock=FakeClock()).listing(limit=10)
    database.close()
    named = f"llama.cpp: llama-b11462-bin-{SYSTEM}-{MACHINE}.tar.gz"
    assert [(one.purpose, one.status) for one in reversed(entries)] == [
        ("releases of llama.cpp", 200), (named, 302), (named, 200),
    ]  # fmt: skip


def test_a_release_is_taken_by_its_tag(bench: Bench) -> None:
    for build in (11461, 11462):
        bench.page.publish(build, archive_of(llama_server(build), build=build))
    assert bench.install("b11461").exit_code == 0
    assert bench.folders() == ["b11461"]
    assert bench.page.asked[0] == "/releases/tags/b11461"


def test_an_update_says_what_is_newer_installs_it_and_removes_the_old(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inglenook.engines.llamacpp.packages.installed_version", lambda: None)
    bench.page.publish(11461, archive_of(llama_server(11461), build=11461))
    bench.install()
    assert "b11461     none" in bench.run("update", "--check").stdout
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462))
    assert "b11461     b11462" in bench.run("update", "--check").stdout
    assert bench.folders() == ["b11461"]
    assert json.loads(bench.run("update", "--json").stdout) == [
        {"from": "own", "installed": "b11461", "newer": "b11462"}
    ]
    done = bench.run("update")
    assert done.exit_code == 0, done.output
    assert "removed: build 11461" in done.stderr
    assert bench.folders() == ["b11462"]


def test_the_same_build_can_be_installed_anew(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462))
    bench.install()
    (bench.own / "b11462" / "llama-server").write_text("spoilt")
    assert bench.install().exit_code == 0
    assert bench.folders() == ["b11462"]
    assert "version" in (bench.own / "b11462" / "llama-server").read_text()


BROKEN = {
    "crashes": "#!/bin/sh\nkill -ILL $$\n",
    "says nothing that is known": "#!/bin/sh\necho hello\n",
    "fails": "#!/bin/sh\necho 'libllama.so: not found' >&2; exit 127\n",
}


@pytest.mark.parametrize("how", list(BROKEN))
def test_a_build_that_does_not_run_here_leaves_the_old_one(bench: Bench, how: str) -> None:
    bench.page.publish(11461, archive_of(llama_server(11461), build=11461))
    bench.install()
    bench.page.publish(11462, archive_of(BROKEN[how], build=11462))
    done = bench.install()
    assert done.exit_code == 1
    assert "error: Build 11462 does not run on this machine" in done.stderr
    assert bench.folders() == ["b11461"]


def test_an_archive_with_another_digest_is_not_kept(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462), digest="sha256:" + "0" * 64)
    done = bench.install()
    assert done.exit_code == 1
    assert "has another SHA-256" in done.stderr
    assert bench.folders() == []


def test_a_hostile_archive_is_not_unpacked(bench: Bench, tmp_path: Path) -> None:
    data = archive_of(llama_server(1), build=11462, more={"llama-b11462/lib.so": "../../../../etc/passwd"})
    bench.page.publish(11462, data)
    done = bench.install()
    assert done.exit_code == 1
    assert "which is not a neighbour" in done.stderr
    assert bench.folders() == []


def test_an_archive_without_the_program_is_said(bench: Bench) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("llama-b11462/LICENSE"), io.BytesIO())
    bench.page.publish(11462, packed.getvalue())
    assert "There is no llama-server in" in bench.install().stderr
    assert bench.folders() == []


def test_more_bytes_than_are_listed_are_not_taken(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462), size=50)
    done = bench.install()
    assert done.exit_code == 1
    assert "is larger than 50 B" in done.stderr
    assert bench.folders() == []


def test_no_fitting_archive_is_said_with_what_there_is(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462))
    done = bench.run("install", "--release", "--build", "rocm")
    assert done.exit_code == 1
    assert "No release has a build for rocm" in done.stderr
    assert f"there are builds for {BACKEND}" in done.stderr


def test_a_release_that_does_not_exist_is_said(bench: Bench) -> None:
    done = bench.install("b1")
    assert (done.exit_code, "answered 404" in done.stderr) == (1, True)


def test_offline_nothing_is_asked(bench: Bench) -> None:
    bench.page.publish(11462, archive_of(llama_server(11462), build=11462))
    done = bench.install(INGLENOOK_OUTGOING__OFFLINE="true")
    assert done.exit_code == 1
    assert "this server is offline" in done.stderr
    assert bench.page.asked == []


def test_a_host_that_is_not_allowed_is_not_asked(bench: Bench) -> None:
    done = bench.install(INGLENOOK_OUTGOING__ALLOW="example.org")
    assert (done.exit_code, bench.page.asked) == (1, [])


def test_the_registry_has_no_build_for_a_gpu_and_says_where_there_is_one(bench: Bench) -> None:
    done = bench.run("install", "--build", "vulkan")
    assert done.exit_code == 1
    assert "inglenook engines install --release" in done.stderr
    assert "There is no engine 'vllm'" in bench.run("install", "vllm").stderr
