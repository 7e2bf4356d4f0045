# SPDX-License-Identifier: Apache-2.0
"""What `inglenook doctor` looks at, one function a part. Nothing is changed; torch is asked in a child."""

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inglenook.base.errors import InglenookError
from inglenook.base.units import GIB, format_bytes

if TYPE_CHECKING:
    from inglenook.catalog.model import ModelRecord
    from inglenook.settings import Settings

LITTLE_ROOM_BYTES = 2 * GIB
ASK_TORCH_TIMEOUT_S = 120.0
PICTURE_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
_EXTRA_HINT = "install them: pip install 'inglenook[pictures]'"


class Mark(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing; everything works without it
    MISSING = "MISSING"  # something that is needed


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `hint`: what to do, where there is something."""

    mark: Mark
    part: str
    text: str
    hint: str | None = None


def findings(settings: "Settings") -> Iterator[Finding]:
    """All parts, in the order in which they are needed."""
    yield python()
    yield from data_folder(settings.server.data)
    yield from database(settings)
    yield port(settings)
    yield from packages()
    yield from devices(settings)
    yield from language(settings)
    yield from models(settings)


def python() -> Finding:
    """An older one than 3.11 does not get as far as this."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(Mark.OK, "Python", text)


def data_folder(folder: Path) -> Iterator[Finding]:
    """It is there and can be written to, or can be made; and how much room it has."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        yield Finding(Mark.MISSING, "data folder", f"{existing} is not a folder", "name another with --data")
        return
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = "change its permissions, or name another with --data"
        yield Finding(Mark.MISSING, "data folder", f"{existing} cannot be written to", hint)
        return
    text = str(folder) if existing == folder else f"{folder} (made at the first start)"
    yield Finding(Mark.OK, "data folder", text)
    free = shutil.disk_usage(existing).free
    if free < LITTLE_ROOM_BYTES:
        hint = "models take several GiB each: free some room, or name another folder with --data"
        yield Finding(Mark.NOTE, "disk", f"{format_bytes(free)} free", hint)
    else:
        yield Finding(Mark.OK, "disk", f"{format_bytes(free)} free")


def database(settings: "Settings") -> Iterator[Finding]:
    """The database opens; one that does not exist yet is not made."""
    from inglenook.app import database_version

    try:
        version = database_version(settings)
    except InglenookError as error:
        yield Finding(Mark.MISSING, "database", error.message, error.hint)
        return
    kind = "SQLite" if settings.store.database_url is None else "the configured database"
    state = "made at the first start" if version is None else f"schema {version}"
    yield Finding(Mark.OK, "database", f"{kind}, {state}")


def port(settings: "Settings") -> Finding:
    """It is free, or our own server has it."""
    from inglenook.store.lock import running

    info = running(settings.server.data)
    if info is not None:
        return Finding(Mark.OK, "server", f"runs at {info.address} (process {info.pid})")
    host, number = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            holder = port_holder(number)
            text = f"{host}:{number} is taken{holder}: {error.strerror}"
            return Finding(Mark.MISSING, "port", text, "stop that program, or choose another with --port")
    return Finding(Mark.OK, "port", f"{host}:{number} is free")


def port_holder(number: int) -> str:
    """`` by python3 (process 12)``, or nothing where the system does not tell."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return ""
    for connection in connections:
        if connection.laddr and connection.laddr.port == number and connection.status == psutil.CONN_LISTEN:
            if connection.pid is None:
                return ""
            try:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.Error:
                return f" by process {connection.pid}"
    return ""


def packages() -> Iterator[Finding]:
    """What drawing needs, by the installed packages' records."""
    found = {name: _version(name) for name in PICTURE_PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        yield Finding(Mark.MISSING, "pictures", f"not installed: {', '.join(missing)}", _EXTRA_HINT)
    have = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    if have:
        yield Finding(Mark.OK, "pictures", have)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


_ASK_TORCH = """
import json, torch
build = {"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}
found = {**build, "devices": ["cpu"]}
if torch.cuda.is_available():
    found["devices"] += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
if torch.backends.mps.is_available():
    found["devices"].append("mps")
print(json.dumps(found))
"""


def ask_torch(run: Callable[..., Any] = subprocess.run) -> dict[str, Any] | str:
    """What torch can use, from a child that imports it; or in words why it cannot be imported."""
    try:
        done = run(
            [sys.executable, "-W", "ignore", "-c", _ASK_TORCH],
            capture_output=True,
            text=True,
            timeout=ASK_TORCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"torch was not imported after {ASK_TORCH_TIMEOUT_S:.0f} s"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"the child ended with {done.returncode}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def devices(settings: "Settings") -> Iterator[Finding]:
    """The hardware that is found, and whether torch can use it."""
    from inglenook.runtime.devices import SystemProbe, system_sources

    wanted = settings.runtime.devices
    probe = SystemProbe(
        sources=system_sources(),
        budgets=settings.runtime.budgets,
        reserve_bytes=settings.runtime.reserve_bytes,
        only=None if wanted == "auto" else wanted,
    )
    try:
        here = probe.devices()
    except InglenookError as error:
        yield Finding(Mark.MISSING, "devices", error.message, error.hint)
        return
    torch = ask_torch() if _version("torch") is not None else None
    if isinstance(torch, str):
        hint = "install it anew: pip install --force-reinstall 'inglenook[pictures]'"
        yield Finding(Mark.MISSING, "torch", torch, hint)
    usable = set(torch["devices"]) if isinstance(torch, dict) else None
    for device in here:
        memory = f"{format_bytes(device.budget_bytes)} of {format_bytes(device.total_bytes)} for models"
        text = f"{device.name or device.kind}, {memory}"
        as_torch = device.id.replace("rocm:", "cuda:")  # what torch calls them in its ROCm build
        if usable is None or as_torch in usable:
            yield Finding(Mark.OK, device.id, text)
        else:
            yield Finding(
                Mark.NOTE,
                device.id,
                f"{text}; torch {torch_build(torch)} cannot use it",
                _torch_hint(device.kind),
            )


def torch_build(torch: Any) -> str:
    """``2.15.0 (CUDA 13.2)``."""
    if torch["hip"]:
        return f"{torch['version']} (ROCm {torch['hip']})"
    return f"{torch['version']} ({'CUDA ' + torch['cuda'] if torch['cuda'] else 'CPU only'})"


def _torch_hint(kind: str) -> str:
    if kind == "rocm":
        return "install torch's ROCm build; the README says how"
    return "update the driver, or install the torch build for yours; the README says how"


def _too_large(settings: "Settings", records: "Sequence[ModelRecord]") -> Iterator[Finding]:
    """Models that no device may hold, by their estimate at their own size: each request would be refused."""
    from inglenook.catalog.footprint import footprint
    from inglenook.engines.diffusers import DTYPES
    from inglenook.runtime.devices import SystemProbe, system_sources

    runtime = settings.runtime
    probe = SystemProbe(
        sources=system_sources(),
        budgets=runtime.budgets,
        reserve_bytes=runtime.reserve_bytes,
        only=None if runtime.devices == "auto" else runtime.devices,
    )
    try:
        found = probe.devices()
    except InglenookError:
        return  # `devices` says what is wrong with them
    for record in records:
        if record.image is None:
            continue
        side_px = record.image.native_px
        needs = {device: footprint(record, side_px, side_px, DTYPES[device.kind]) for device in found}
        if needs and all(need > device.budget_bytes for device, need in needs.items()):
            device, need = max(needs.items(), key=lambda pair: pair[0].budget_bytes)
            text = (
                f"{record.id} needs about {format_bytes(need)}, "
                f"and {device.id} may give {format_bytes(device.budget_bytes)}"
            )
            yield Finding(Mark.MISSING, "models", text, f"raise runtime.budgets for {device.id}")


_KINDS = {"lora": "LoRA", "embedding": "embedding", "vae": "VAE", "text_encoder": "text encoder"}


def _beside(records: "Sequence[ModelRecord]") -> str:
    """``12 LoRAs, 1 VAE``: usable things that go with a model, by kind."""
    counts = Counter(str(record.kind) for record in records if record.problem is None)
    return ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}"
        for kind, word in _KINDS.items()
        if (count := counts[kind])
    )


def language(settings: "Settings") -> Iterator[Finding]:
    """The llama.cpp that runs language models, and the starters. Pictures are drawn without either."""
    from inglenook.catalog.starters.listing import is_installed, starters
    from inglenook.cli.engines import build_hint
    from inglenook.engines.llamacpp.found import LlamaPrograms

    found = LlamaPrograms(setting=settings.language.server, engines=settings.engine_folder).every(again=True)
    used = next((one for one in found if one.probe.problem is None), None)
    for one in found:
        if one.probe.problem is not None:
            advice = "inglenook engines install puts another beside it"
            yield Finding(Mark.NOTE, "llama.cpp", f"not used: {one.probe.problem}", advice)
    if used is None:
        text = f"no language model runs: none can be used (language.server is {settings.language.server})"
        yield Finding(Mark.NOTE, "llama.cpp", text, "install it: inglenook engines install llama.cpp")
    else:
        built = ", ".join(used.probe.builds)
        text = f"{used.probe.version} for {built}, from {used.source} ({used.path})"
        hint = build_hint(used)
        yield Finding(Mark.OK if hint is None else Mark.NOTE, "llama.cpp", text, hint)
    missing = [one.name for one in starters() if not is_installed(settings.starter_folder, one)]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        yield Finding(Mark.NOTE, "starters", text, "small models to begin with: inglenook starters install")
    else:
        yield Finding(Mark.OK, "starters", "models for chat, embeddings, speech and matting are installed")


def models(settings: "Settings") -> Iterator[Finding]:
    """How many can draw, and what is wrong with the others."""
    from inglenook.cli.models import found_models

    records = found_models(settings)
    for folder in settings.models.folders:
        if not folder.is_dir():
            yield Finding(
                Mark.NOTE, "models", f"the folder {folder} does not exist", "correct models.folders"
            )
    usable = [record.id for record in records if record.problem is None and record.kind == "image"]
    if usable:
        yield Finding(Mark.OK, "models", f"{len(usable)} can draw: {', '.join(usable[:5])}")
        wanted = settings.images.default_model
        if wanted not in ("auto", *usable, *(name.rpartition("/")[2] for name in usable)):
            text = f"images.default_model is {wanted}, which is not among them"
            yield Finding(Mark.MISSING, "models", text, "correct it, or write auto")
        yield from _too_large(settings, [record for record in records if record.id in usable])
    else:
        hint = f"put one into {settings.server.data / 'models'}"
        yield Finding(Mark.MISSING, "models", "none can draw", hint)
    beside = _beside(records)
    if beside:
        yield Finding(Mark.OK, "models", f"beside them: {beside}")
    for record in records:
        if record.problem is not None:
            fact, _, hint = record.problem.partition("\nhint: ")
            yield Finding(Mark.NOTE, "models", f"{record.id}: {fact}", hint or None)
