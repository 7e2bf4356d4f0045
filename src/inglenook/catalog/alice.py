# SPDX-License-Identifier: Apache-2.0
"""The `.yaml` that ALICE reads beside a model: which files lend it what it lacks, and its own numbers.

For `fox.safetensors` it is `fox.yaml`, `fox.yml`, else `model_config.yaml` or `.yml` in the same folder:

    model_type: qwen-image-edit
    vae: qwen_image_vae.safetensors
    llm: Qwen2.5-VL-7B.safetensors
    defaults: {steps: 20, guidance_scale: 2.5}

As ALICE does, a component that is not there is passed over. Its `flags` are arguments of
stable-diffusion.cpp and its `defaults.scheduler` may name one that does not fit: both are left alone.
Other programs put a `.yaml` beside a model as well; what has none of these names is none of ALICE's.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from inglenook.catalog.errors import CorruptModel
from inglenook.catalog.model import Need
from inglenook.catalog.sidecar import Sidecar, SidecarImage

MAX_BYTES = 1 << 16
SUFFIXES = (".yaml", ".yml")
_NAMES = frozenset({"model_type", "vae", "llm", "llm_vision", "clip_vision", "flags", "defaults"})
_ELSEWHERE = frozenset({"model"})
"""What the `.yaml` of Stable Diffusion's first release begins with."""
_WEIGHTS = ".safetensors"
_ROLES: Mapping[str, frozenset[str]] = {"vae": frozenset({"vae", "vae_3d"}), "llm": frozenset({"qwen2.5-vl"})}
"""ALICE's name of a component → the roles that it can fill."""


def places(model: Path) -> Iterator[Path]:
    """Where the file of a single-file model may be, the first that is there counts."""
    if model.suffix.lower() == _WEIGHTS:
        yield from (model.with_suffix(suffix) for suffix in SUFFIXES)
        yield from (model.with_name(f"model_config{suffix}") for suffix in SUFFIXES)


def read_alice(model: Path, needs: Sequence[Need]) -> Sidecar | None:
    """What ALICE's file says of a model that draws, or None where there is none.

    Args:
        needs: what the model lacks; only for these a component counts.

    Raises:
        CorruptModel: a number is out of range; the message names it.
        OSError: it cannot be read.
    """
    for path in places(model):
        if path.is_file():
            document = _document(path)
            return None if document is None else _sidecar(document, model, needs, path.name)
    return None


def _document(path: Path) -> Mapping[str, Any] | None:
    """The file, if it is ALICE's."""
    from ruamel.yaml import YAML  # here: hardly any model has such a file
    from ruamel.yaml.error import YAMLError

    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return None
    try:
        found = YAML(typ="safe", pure=True).load(data.decode("utf-8-sig"))
    except (YAMLError, ValueError, IndexError, RecursionError):  # some program's, but no YAML
        return None
    ours = isinstance(found, dict) and not _NAMES.isdisjoint(found) and _ELSEWHERE.isdisjoint(found)
    return found if ours else None


def _sidecar(document: Mapping[str, Any], model: Path, needs: Sequence[Need], name: str) -> Sidecar:
    parts: dict[str, str] = {}
    for key, roles in _ROLES.items():
        stem = _lent(document.get(key), model)
        if stem is not None:
            parts |= {need.slot: stem for need in needs if need.role in roles}
    defaults = document.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise CorruptModel(f"{name}: defaults: it must hold steps and guidance_scale.")
    numbers = {key: defaults[key] for key in ("steps", "guidance_scale") if defaults.get(key) is not None}
    try:
        return Sidecar(schema=1, image=msgspec.convert({**numbers, "parts": parts}, SidecarImage))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise CorruptModel(f"{name}: defaults.{where.rstrip('`')}: {what}.") from None


def _lent(component: Any, model: Path) -> str | None:
    """The name in the library of a component that lies beside the model, or in the folder above."""
    if not isinstance(component, str) or not component.lower().endswith(_WEIGHTS) or "\0" in component:
        return None
    for folder in (model.parent, model.parent.parent):
        path = folder / component
        try:
            if path.is_file():
                return path.stem
        except OSError:  # a name that is too long for the file system
            return None
    return None
