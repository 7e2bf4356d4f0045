# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint of PyTorch holds weights and plain values only. Looks at it without loading anything.

Such a file is a zip with a pickle in it, and a pickle may call whatever it names. `torch.load` with
`weights_only=True` refuses every name outside its own list and every protocol but 2; so does this.
"""

import pickletools
import re
import zipfile
from pathlib import Path
from typing import Final

from inglenook.base.errors import InglenookError
from inglenook.catalog.safetensors import read_header

MAX_PICKLE_BYTES: Final = 64 * 1024 * 1024
_ALLOWED = re.compile(
    r"collections (OrderedDict|Counter)"
    r"|torch\._utils _rebuild_(tensor_v2|parameter|tensor)"
    r"|torch (Size|device|[A-Z][A-Za-z0-9]*Storage|float\d+|bfloat16|u?int\d+|bool|complex\d+)"
    r"|torch\.storage (UntypedStorage|TypedStorage)"
)


def not_loadable(path: Path) -> str | None:
    """Why the checkpoint will not be loaded; None where nothing speaks against it. Blocks."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next((it for it in archive.infolist() if it.filename.endswith("/data.pkl")), None)
            if inside is None:
                return "it is no checkpoint of PyTorch: there is no data.pkl in it"
            if inside.file_size > MAX_PICKLE_BYTES:
                return f"its data.pkl has {inside.file_size} bytes; {MAX_PICKLE_BYTES} are looked through"
            return _problem(archive.read(inside))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return "it is no zip, as checkpoints of PyTorch have been since 1.6"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def not_sound(path: Path) -> str | None:
    """Why a safetensors file cannot be loaded, by its header; None where it can. Blocks."""
    try:
        read_header(path)
    except InglenookError as error:
        return error.message
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


def _problem(pickle: bytes) -> str | None:
    try:
        for operation, argument, _ in pickletools.genops(pickle):
            if operation.name == "PROTO" and argument != 2:
                return f"its pickle has protocol {argument}, and only protocol 2 is loaded"
            if operation.name in ("GLOBAL", "INST") and not _ALLOWED.fullmatch(str(argument)):
                name = str(argument).replace(" ", ".")[:100]
                return f"it names {name}: such a file is only loaded with code, which is never done here"
            if operation.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                return "it names code in a way that cannot be checked"
    except ValueError as error:
        return f"its pickle is damaged: {str(error)[:100]}"
    return None
