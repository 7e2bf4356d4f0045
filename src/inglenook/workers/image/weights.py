# SPDX-License-Identifier: Apache-2.0
"""Model files on disk: safetensors only, and looked at before anything else opens them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import CONVERT_HINT, LoadCorrupt, LoadUnsupported
from inglenook.workers.image.memory import evidence_of

_PICKLE_SUFFIXES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
HOST = Device("cpu")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


class Checkpoint:
    """One `.safetensors` file: names, shapes and metadata at once, tensors when they are asked for.

    Raises `LoadUnsupported` for a pickle, by name or by content, and `LoadCorrupt` for a file that is cut
    short or is no safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        refuse_pickle(path)
        try:
            with safe_open(path, framework="pt") as file:
                self.metadata: Mapping[str, str] = dict(file.metadata() or {})
                self.shapes: Mapping[str, tuple[int, ...]] = {
                    key: tuple(file.get_slice(key).get_shape())
                    for key in file.keys()  # noqa: SIM118 - no mapping
                }
        except SafetensorError as error:
            raise LoadCorrupt(
                f"{path.name} is not a whole safetensors file: {error} ({path.stat().st_size} bytes).",
                hint="the download was probably interrupted: fetch the file again",
            ) from error
        except OSError as error:
            raise LoadCorrupt(f"{path.name} cannot be read: {error.strerror or error}.") from error

    def has(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        """Raises `LoadUnsupported` when there is no such tensor."""
        try:
            return self.shapes[key]
        except KeyError:
            raise LoadUnsupported(
                f"{self.path.name} holds no tensor {key!r}, which every model of this family has."
            ) from None

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """All tensors whose name begins with `prefix`, under their whole names, in host memory."""
        with safe_open(self.path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in self.shapes if key.startswith(prefix)}


def refuse_pickle(path: Path) -> None:
    """Raises `LoadUnsupported` for a pickle, and `LoadCorrupt` when there is no file."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise LoadCorrupt(f"{path} cannot be read: {error.strerror}.") from error
    if (
        path.suffix.lower() in _PICKLE_SUFFIXES
        or head[:4] == _ZIP
        # A safetensors header of 128, 384 … bytes begins like a pickle; its ninth byte tells them apart.
        or (head[:1] == _PICKLE and head[1:2] < b"\x06" and head[8:9] != b"{")
    ):
        raise LoadUnsupported(f"{path.name} is a pickle, not a safetensors file.", hint=CONVERT_HINT)


def check_folder(folder: Path, parts: Iterable[str]) -> None:
    """Look at every weight file of a diffusers folder before a library does.

    Raises `LoadCorrupt` when a part is missing or a file is cut short, `LoadUnsupported` for pickles.
    """
    for part in parts:
        place = folder / part
        if not (place / "config.json").is_file():
            raise LoadCorrupt(f"The model folder {folder.name} has no {part}/config.json.")
        files = sorted(place.glob("*.safetensors"))
        if not files and any(file.suffix in _PICKLE_SUFFIXES for file in place.iterdir()):
            raise LoadUnsupported(
                f"{folder.name}/{part} holds its weights as a pickle only.", hint=CONVERT_HINT
            )
        if not files:
            raise LoadCorrupt(f"{folder.name}/{part} holds no .safetensors file.")
        for file in files:
            Checkpoint(file)


def variant_of(place: Path) -> str | None:
    """`fp16` when a part is only there as `….fp16.safetensors`, else None: the plain files."""
    names = [file.name for file in place.glob("*.safetensors")]
    return "fp16" if names and all(".fp16" in name for name in names) else None


def read_json(path: Path) -> dict[str, Any]:
    """Raises `LoadCorrupt` when the file is missing or holds no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadCorrupt(f"{path.parent.name}/{path.name} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise LoadCorrupt(f"{path.parent.name}/{path.name} holds no JSON object.")
    return found


@contextmanager
def fitting(part: str) -> Iterator[None]:
    """Run a library's loader; its ways of saying that weights do not fit the model become `LoadCorrupt`.

    Running out of memory is not one of them and goes on as it is.
    """
    try:
        yield
    except NotImplementedError as error:  # torch's word for a weight that was in no file
        raise LoadCorrupt(f"The {part} lacks tensors that its configuration asks for.") from error
    except (KeyError, ValueError, RuntimeError) as error:
        if evidence_of(error, HOST) is not None:
            raise
        raise LoadCorrupt(f"The weights of the {part} do not fit its configuration: {error}") from error


def require_whole(module: torch.nn.Module, name: str) -> None:
    """Raises `LoadCorrupt` when a weight of `module` was in no file (it is then still without storage)."""
    missing = list(_without_storage(module))
    if missing:
        raise LoadCorrupt(f"The {name} lacks {len(missing)} tensors, the first of them {missing[0]!r}.")


def _without_storage(module: torch.nn.Module) -> Iterator[str]:
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            yield key


_SCALES = (".scale_weight", ".weight_scale")
_LEFT_OUT = ("scaled_fp8", ".scale_input", ".input_scale")


def in_dtype(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors in the precision to compute in, one at a time; whole numbers stay as they are.

    Weights in 8 bits are multiplied by their scale where there is one (`x.scale_weight` or `x.weight_scale`
    beside `x.weight`: one number, or one a row). Raises `LoadUnsupported` for any other quantisation.
    """
    _refuse_other_quantisation(tensors)
    scales = {
        f"{key.removesuffix(end)}.weight": tensor
        for key, tensor in tensors.items()
        for end in _SCALES
        if key.endswith(end)
    }
    return {
        key: _scaled(key, tensor, scales.get(key), dtype)
        for key, tensor in tensors.items()
        if not key.endswith((*_SCALES, *_LEFT_OUT, ".comfy_quant"))
    }


def _scaled(key: str, tensor: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    if scale is None:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor
    rows = tensor.shape[0] if tensor.ndim else 1
    if not tensor.is_floating_point() or scale.numel() not in (1, rows):
        raise LoadUnsupported(
            f"The weights of {key!r} are {tensor.dtype} of shape {tuple(tensor.shape)} with a scale of shape "
            f"{tuple(scale.shape)}; 8-bit floats with one scale, or one a row, are read here."
        )
    factors = scale.float().reshape(-1, *(1,) * max(0, tensor.ndim - 1))
    return (tensor.float() * factors).to(dtype)


def _refuse_other_quantisation(tensors: Mapping[str, torch.Tensor]) -> None:
    """ComfyUI writes how a layer was quantised as JSON in a tensor of bytes."""
    for key, tensor in tensors.items():
        if not key.endswith(".comfy_quant"):
            continue
        told = bytes(tensor.flatten().to(torch.uint8).tolist()).decode("utf-8", "replace")
        if '"float8' not in told:
            raise LoadUnsupported(
                f"{key.removesuffix('.comfy_quant')!r} is quantised as {told[:80]}; of quantised weights "
                "only 8-bit floats are read here.",
                hint="take the file of the same model in bfloat16 or float8",
            )
