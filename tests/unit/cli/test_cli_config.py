# SPDX-License-Identifier: Apache-2.0
"""`inglenook config` as whole screens."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from inglenook.base.ids import OWNER
from inglenook.cli import program
from inglenook.settings.pages import pages
from inglenook.settings.problems import all_keys
from inglenook.store import schema
from inglenook.store.database import Database, sqlite_url
from inglenook.store.overrides import SettingOverrides
from inglenook.testing.clock import FakeClock


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("INGLENOOK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(program, list(arguments), env=environ)


SCREEN = """\
server.host                127.0.0.1             default
server.port                9000                  environment INGLENOOK_SERVER__PORT
server.data                {data}                command line --data
server.allowed_hosts       [studio.lan, me.lan]  file {file}:4
server.max_upload_bytes    32 MiB                default
server.log_level           info                  default
server.admin_password      ********              file {file}:5
server.health              cyber-inference       default
runtime.devices            [cuda:0, cpu]         file {file}:7
runtime.budgets            {{cuda:0: 12 GiB}}    file {file}:8
runtime.reserve_bytes      1 GiB                 default
runtime.cpu_threads        auto                  default
runtime.idle_unload_s      never                 file {file}:10
runtime.max_loaded         auto                  default
runtime.read_ahead         True                  default
runtime.start_timeout_s    120                   default
runtime.cancel_grace_s     10                    default
runtime.stop_grace_s       5                     default
runtime.switch_patience_s  5                     default
runtime.training_share  0.2  default
runtime.training_slice_s  30  default
runtime.park_grace_s  60  default
runtime.aging_s            60                    default
jobs.queue_limit           1000                  default
jobs.person_limit          200                   default
jobs.max_active            64                    default
images.default_model       auto                  default
images.max_side_px         2048                  default
images.max_pixels          4194304               default
images.max_input_pixels    64000000              default
images.max_pictures        10                    default
images.max_steps           150                   default
images.dtype               auto                  default
images.saving              auto                  default
images.vae_on_cpu          False                 default
images.compile             off                   default
images.profile             auto                  default
images.block_nsfw          False                 default
images.link_lifetime_s     never                 default
pixels.default_model       auto                  default
pixels.max_frames          64                    default
pixels.keep_warm_s         300                   default
pixels.memory_bytes        2 GiB                 default
pixels.pixelai_port        off                   default
language.server            auto                  default
language.releases          https://api.github.com/repos/ggml-org/llama.cpp/releases  default
language.default_model     auto                  default
language.embedding_model   auto                  default
language.speech_model      auto                  default
language.context           auto                  default
language.max_context       32768                 default
language.parallel          4                     default
language.flash_attention   auto                  default
language.cache_type_k      f16                   default
language.cache_type_v      f16                   default
speech.max_upload_bytes    256 MiB               default
speech.max_duration_s      7200                  default
speech.compute_type        auto                  default
speech.ffmpeg              auto                  default
gallery.trash_days         30                    default
gallery.public_hours       168                   default
gallery.page_size          100                   default
gallery.thumbnail_px       256                   default
studio.workspace  -  default
studio.import_roots  []  default
studio.max_upload_bytes  4 GiB  default
studio.max_pixels  64000000  default
studio.max_images  1000000  default
studio.import_memory_bytes  4 GiB  default
studio.trainings_at_once  auto  default
studio.checkpoint_every_s  120  default
studio.weights_hub  False  default
outgoing.offline           False                 default
outgoing.allow             []                    default
outgoing.private_hosts     []                    default
outgoing.ports             [80, 443]             default
models.folders             []                    default
models.pinned              []                    default
store.database_url         ********              file {file}:12
"""
"""Name, value and origin, two or more spaces between them."""

FILE = """\
schema_version: 1
server:
  # names behind the tunnel
  allowed_hosts: [studio.lan, me.lan]
  admin_password: swordfish
runtime:
  devices: [cuda:0, cpu]
  budgets:
    cuda:0: 12 GiB
  idle_unload_s: never
store:
  database_url: postgresql://app:swordfish@127.0.0.1:9/inglenook
"""


def test_every_value_is_shown_with_its_origin_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    file = data / "config.yaml"
    file.write_text(FILE)
    done = run("config", "show", "--data", str(data), INGLENOOK_SERVER__PORT="9000")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.startswith("note: overrides in the database are not shown: The database ")
    rows = [re.split(r" {2,}", line.format(data=data, file=file)) for line in SCREEN.splitlines()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows]
    assert done.stdout.splitlines() == shown
    assert "swordfish" not in done.output


def test_the_same_as_json(tmp_path: Path) -> None:
    done = run("config", "show", "--json", "--data", str(tmp_path), INGLENOOK_JOBS__MAX_ACTIVE="3")
    shown = json.loads(done.stdout)
    assert shown["jobs.max_active"] == {"value": 3, "origin": "environment INGLENOOK_JOBS__MAX_ACTIVE"}
    assert shown["server.data"] == {"value": str(tmp_path), "origin": "command line --data"}
    assert shown["store.database_url"] == {"value": None, "origin": "default"}


def test_an_override_in_the_database_is_shown_with_who_set_it_and_when(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "inglenook.db"))
    schema.upgrade(database)
    overrides = SettingOverrides(database=database, clock=FakeClock())
    overrides.put("jobs", "max_active", 3, person=OWNER)
    database.close()
    shown = json.loads(run("config", "show", "--json", "--data", str(tmp_path)).stdout)
    assert shown["jobs.max_active"] == {
        "value": 3,
        "origin": "override by owner at 2026-01-01T00:00:00+00:00",
    }


def test_a_database_that_cannot_be_read_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "inglenook.db").write_bytes(b"no database " * 100)
    done = run("config", "show", "--data", str(tmp_path))
    assert done.exit_code == 0
    assert done.stderr.startswith("note: overrides in the database are not shown: ")
    assert len(done.stdout.splitlines()) == len(all_keys())


def test_looking_at_the_settings_makes_nothing(tmp_path: Path) -> None:
    assert run("config", "show", "--data", str(tmp_path / "new")).exit_code == 0
    assert not (tmp_path / "new").exists()


def test_a_mistyped_setting_is_told_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server:\n  prot: 9000\n  log_level: loud\n")
    done = run("config", "show", "--data", str(tmp_path))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path}/config.yaml:2: server.prot = 9000 is not a setting\n"
        "hint: did you mean server.port?\n"
        f"error: {tmp_path}/config.yaml:3: server.log_level = 'loud' must be debug, info, warning or error\n"
    )


def test_a_server_with_a_bad_setting_does_not_start(tmp_path: Path) -> None:
    done = run("serve", "--data", str(tmp_path), "--host", "0.0.0.0")
    assert done.exit_code == 1
    assert done.stderr == (
        "error: command line --host: server.host = '0.0.0.0' would let other machines in, and there are no "
        "accounts yet to tell people apart\n"
        "hint: use 127.0.0.1; from elsewhere, forward the port: ssh -L 8190:127.0.0.1:8190 HOST\n"
    )


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    done = run("config", "show", "--config", str(tmp_path / "none.yaml"))
    assert done.exit_code == 1
    assert done.stderr == f"error: {tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_the_path_is_told_whether_or_not_the_file_is_there(tmp_path: Path) -> None:
    done = run("config", "path", "--data", str(tmp_path))
    assert done.stdout == f"{tmp_path}/config.yaml\n"
    assert done.stderr.startswith("hint: the file is not there")
    (tmp_path / "config.yaml").write_text("")
    done = run("config", "path", "--data", str(tmp_path))
    assert (done.stdout, done.stderr) == (f"{tmp_path}/config.yaml\n", "")


def test_the_example_can_be_used_as_it_is_printed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(run("config", "example").stdout)
    done = run("config", "show", "--json", "--data", str(tmp_path))
    origins = {key: shown["origin"] for key, shown in json.loads(done.stdout).items()}
    assert origins.pop("server.data") == "command line --data"
    assert set(origins.values()) == {"default"}


def test_generated_files_are_written_then_found_current_then_found_stale(tmp_path: Path) -> None:
    folder = str(tmp_path)
    done = run("config", "generate", "--check", "--folder", folder)
    assert done.exit_code == 1
    assert "config.example.yaml is not current\n" in done.stderr
    assert not any(tmp_path.iterdir())

    done = run("config", "generate", "--folder", folder)
    assert done.stdout.splitlines() == [str(tmp_path / page) for page in pages()]
    assert run("config", "generate", "--check", "--folder", folder).exit_code == 0

    (tmp_path / "config.example.yaml").write_text("server:\n")
    done = run("config", "generate", "--check", "--folder", folder)
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {tmp_path}/config.example.yaml is not current\nhint: run `inglenook config generate`\n"
    )
