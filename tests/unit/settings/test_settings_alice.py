# SPDX-License-Identifier: Apache-2.0
"""A configuration of ALICE's becomes one of ours that a server starts with, and nothing is dropped unsaid."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from inglenook.cli import program
from inglenook.settings import SettingsError, load
from inglenook.settings.alice import from_alice, written

FILE = """\
# ALICE Configuration
server:
  host: 0.0.0.0
  port: 8090
  api_key: sd-very-secret
  require_auth: false
  block_nsfw: true
models:
  directory: ./models
  auto_unload_timeout: 600
  default_model: sd/dreamer
  civitai_api_key: null
generation:
  default_steps: 25
  force_float32: true
  force_bfloat16: true
  vae_decode_cpu: true
  enable_vae_tiling: true
  enable_model_cpu_offload: true
  enable_torch_compile: true
  torch_compile_mode: max-autotune
  sdcpp_threads: 8
storage:
  public_image_expiration_hours: 72
  gallery_page_size: 0
logging:
  level: WARNING
  file: null
model_cache:
  enabled: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "alice" / "config.yaml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_what_has_a_name_here_is_taken_and_a_server_can_read_it(file: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text(written(from_alice(file), name=file.name))
    settings = load(file=ours, environ={}).settings
    assert settings.server.port == 8090
    assert settings.server.host == "127.0.0.1"
    assert settings.server.log_level == "warning"
    assert settings.models.folders == (file.parent / "models",)
    assert settings.runtime.idle_unload_s == 600
    assert settings.gallery.public_hours == 72
    images = settings.images
    assert (images.default_model, images.block_nsfw, images.vae_on_cpu) == ("dreamer", True, True)
    assert (images.dtype, images.saving, images.compile) == ("bfloat16", 3, "max-autotune")


def test_what_has_none_is_told_with_its_line_and_the_reason_and_no_secret(file: Path) -> None:
    taken = from_alice(file)
    left = {one.key: one for one in taken.left}
    assert left["server.host"].line == 3
    assert "other machines" in left["server.host"].why
    assert "1000 at most" in left["storage.gallery_page_size"].why
    assert {"server.api_key", "generation.default_steps", "model_cache.enabled"} <= set(left)
    assert "models.civitai_api_key" not in left  # it says nothing
    assert "very-secret" not in written(taken, name="config.yaml")


def test_every_line_is_either_taken_or_told(file: Path) -> None:
    text = written(from_alice(file), name=file.name)
    told = text.partition("# Not taken:")[2]
    assert told.count("#   line ") == 7, told


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("generation:\n  enable_torch_compile: true\n  torch_compile_mode: fast\n", "generation"),
        ("server:\n  port: 99999\n", "server.port"),
        ("models:\n  directory: 3\n", "models.directory"),
        ("server:\n  port: .nan\n", "server.port"),
        ("made: up\n", "made"),
        ("server:\n  made_up: 1\n", "server.made_up"),
    ],
)
def test_a_value_that_may_not_be_is_left_out_with_its_place(tmp_path: Path, text: str, key: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    taken = from_alice(file)
    assert taken.values == {}
    assert [one.key for one in taken.left] == [key]
    assert taken.left[0].why


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "a: 1\na: 2\n"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        from_alice(file)


def test_the_command_prints_it(file: Path) -> None:
    done = CliRunner().invoke(program, ["config", "from-alice", str(file)])
    assert done.exit_code == 0
    assert 'server:\n  log_level: "warning"\n  port: 8090' in done.output
    assert "# Not taken:" in done.output
