# SPDX-License-Identifier: Apache-2.0
"""ALICE's `config.yaml` → settings of ours, and for everything else why it is not taken.

Values are checked as if they stood in a file of ours; what ALICE allows and this program does not is left
out with the reason. Secrets are named and never repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from inglenook.settings.declaration import SCHEMA_VERSION
from inglenook.settings.document import Line, read_lines
from inglenook.settings.problems import bad_values, show
from inglenook.settings.sources import Given, check


@dataclass(frozen=True, slots=True)
class Left:
    """A line of ALICE's file that has no effect here. `key`: `section.name`. `why`: one sentence."""

    line: int
    key: str
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What a file of ALICE's says in our words. `values`: by `section.name`, checked."""

    values: Mapping[str, Any]
    left: Sequence[Left]


class _Unfit(Exception):
    """The value is nothing that can be taken; the text says why."""


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────


def _same(value: Any, folder: Path) -> Any:  # noqa: ARG001 - one of several readers
    return value


def _folders(value: Any, folder: Path) -> list[str]:
    if not isinstance(value, str):
        raise _Unfit("it is not the name of a folder")
    return [str(folder / Path(value).expanduser())]


def _model(value: Any, folder: Path) -> Any:  # noqa: ARG001
    return value.removeprefix("sd/") if isinstance(value, str) else value


def _level(value: Any, folder: Path) -> str:  # noqa: ARG001
    words = {"critical": "error", "fatal": "error", "warn": "warning", "notset": "debug"}
    word = str(value).lower()
    return words.get(word, word)


def _page(value: Any, folder: Path) -> Any:  # noqa: ARG001
    if value == 0:
        raise _Unfit("0 means all pictures on one page, and a page has 1000 at most")
    return value


_RENAMED: Mapping[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "server.host": ("server.host", _same),
    "server.port": ("server.port", _same),
    "server.block_nsfw": ("images.block_nsfw", _same),
    "models.directory": ("models.folders", _folders),
    "models.auto_unload_timeout": ("runtime.idle_unload_s", _same),
    "models.default_model": ("images.default_model", _model),
    "generation.vae_decode_cpu": ("images.vae_on_cpu", _same),
    "storage.public_image_expiration_hours": ("gallery.public_hours", _same),
    "storage.gallery_page_size": ("gallery.page_size", _page),
    "logging.level": ("server.log_level", _level),
}
"""ALICE's name → ours, and how its value is read; `folder` is that of the file."""

_TOGETHER = frozenset(
    f"generation.{name}"
    for name in (
        "force_cpu",
        "force_float32",
        "force_bfloat16",
        "enable_vae_tiling",
        "enable_model_cpu_offload",
        "enable_sequential_cpu_offload",
        "enable_torch_compile",
        "torch_compile_mode",
    )
)
"""What only says something in the company of others; see `_combined`."""

_ACCOUNTS = "there are no accounts yet: the server listens on this machine only, and takes any key"
_LEDGER = "how much memory is spared follows from what is free; images.saving sets the least"
_SDCPP = "it is an option of ALICE's stable-diffusion.cpp"
_DEFAULTS = "each model has its own; a file beside it, `<name>.inglenook.json`, changes them"
_IMPORT = "`inglenook import alice FOLDER` brings the pictures over"
_NO_LIMIT = "nothing is deleted by itself but what lies in the trash; see gallery.trash_days"
_LOG = "the log goes to standard error; what starts the server keeps it"
_HUBS = "models are not searched for or fetched from hubs"
_WHY: Mapping[str, str] = {
    "server.api_key": _ACCOUNTS,
    "server.require_auth": f"{_ACCOUNTS}; server.admin_password guards settings and models",
    "server.registration_mode": _ACCOUNTS,
    "server.session_timeout_seconds": _ACCOUNTS,
    "models.civitai_api_key": _HUBS,
    "models.huggingface_token": _HUBS,
    "generation.default_steps": _DEFAULTS,
    "generation.default_guidance_scale": _DEFAULTS,
    "generation.default_scheduler": "each model has its own",
    "generation.default_width": _DEFAULTS,
    "generation.default_height": _DEFAULTS,
    "generation.max_concurrent": "who draws is decided by what fits into memory; see runtime.max_loaded",
    "generation.request_timeout": "a picture is waited for until it is there, cancelled or failed",
    "generation.backend": "the engine follows from the model and from what is installed",
    "generation.sdcpp_binary": _SDCPP,
    "generation.sdcpp_threads": f"{_SDCPP}; runtime.cpu_threads is for all",
    "generation.device_map": _LEDGER,
    "generation.enable_vae_slicing": _LEDGER,
    "generation.attention_slice_size": _LEDGER,
    "generation.enable_mmap": "weights are always mapped from their files",
    "generation.keep_clip_on_cpu": f"{_SDCPP}; images.saving 3 keeps idle parts in host memory",
    "generation.diffusion_conv_direct": _SDCPP,
    "generation.vae_conv_direct": _SDCPP,
    "generation.circular": _SDCPP,
    "generation.enable_flash_attention": _SDCPP,
    "storage.images_directory": _IMPORT,
    "storage.gallery_file": _IMPORT,
    "storage.auth_directory": _ACCOUNTS,
    "storage.max_storage_gb": _NO_LIMIT,
    "storage.retention_days": _NO_LIMIT,
    "logging.file": _LOG,
    "logging.max_size_mb": _LOG,
    "logging.backup_count": _LOG,
}
"""ALICE's settings that have no effect here, and why."""


def _combined(on: Mapping[str, Any]) -> dict[str, Any]:
    """`on`: those of `_TOGETHER` that the file has, without their section."""
    found: dict[str, Any] = {}
    if on.get("force_cpu") is True:
        found["runtime.devices"] = ["cpu"]
    if on.get("force_bfloat16") is True:  # ALICE, too, lets it win
        found["images.dtype"] = "bfloat16"
    elif on.get("force_float32") is True:
        found["images.dtype"] = "float32"
    if True in (on.get("enable_sequential_cpu_offload"), on.get("enable_model_cpu_offload")):
        found["images.saving"] = 3
    elif on.get("enable_vae_tiling") is True:
        found["images.saving"] = 2
    if on.get("enable_torch_compile") is True:
        found["images.compile"] = on.get("torch_compile_mode", "reduce-overhead")
    return found


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────


def from_alice(file: Path) -> Taken:
    """What ALICE's configuration says here.

    Raises:
        SettingsError: the file cannot be read, or is not YAML with sections.
    """
    folder = file.absolute().parent
    values: dict[str, Any] = {}
    left: list[Left] = []
    together: dict[str, tuple[Any, int]] = {}
    for line in read_lines(file):
        key = line.section if line.name is None else f"{line.section}.{line.name}"
        if line.value is None:
            continue
        if key in _TOGETHER and line.name is not None:
            together[line.name] = (line.value, line.line)
        elif key in _RENAMED:
            _take(line, key, folder, values, left)
        else:
            why = _HUBS if line.section == "model_cache" else _WHY.get(key, "ALICE has no such setting")
            left.append(Left(line.line, key, why))
    at = max((where for _, where in together.values()), default=1)
    for ours, value in _combined({name: value for name, (value, _) in together.items()}).items():
        _put(ours, value, Left(at, "generation", ""), folder, values, left)
    return Taken(values, sorted(left, key=lambda one: one.line))


def _take(line: Line, key: str, folder: Path, values: dict[str, Any], left: list[Left]) -> None:
    ours, read = _RENAMED[key]
    try:
        value = read(line.value, folder)
    except _Unfit as unfit:
        left.append(Left(line.line, key, str(unfit)))
        return
    _put(ours, value, Left(line.line, key, ""), folder, values, left)


def _put(ours: str, value: Any, source: Left, folder: Path, values: dict[str, Any], left: list[Left]) -> None:
    section, _, name = ours.partition(".")
    where = f"line {source.line}"
    try:
        check(Given(section, name, value, where, where, folder))
    except ValidationError as error:
        [problem, *_] = bad_values(where, section, name, value, error)
        left.append(Left(source.line, source.key, problem.what))
    else:
        values[ours] = value


def written(taken: Taken, *, name: str) -> str:
    """A `config.yaml` of ours; below the values, as comments, what was left. `name`: of ALICE's file."""
    lines = [f"# Made of {name}.", f"schema_version: {SCHEMA_VERSION}"]
    section = None
    for key in sorted(taken.values):
        head, _, tail = key.partition(".")
        if head != section:
            lines += ["", f"{head}:"]
            section = head
        lines.append(f"  {tail}: {msgspec.json.encode(taken.values[key]).decode()}")  # JSON is YAML
    if taken.left:
        lines += ["", "# Not taken:"]
    lines += [f"#   line {one.line}, {show(one.key).strip(chr(39))}: {one.why}" for one in taken.left]
    return "\n".join(lines) + "\n"
