# SPDX-License-Identifier: Apache-2.0
"""The kinds of values a setting may have: each checks itself, and says in words what it accepts.

Text from the environment is accepted wherever a file would hold a number, a list or a map, so that both
sources go through the same checks.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from inglenook.base.errors import Invalid
from inglenook.base.ids import ModelId
from inglenook.base.units import format_bytes, parse_bytes

FOLDER_CONTEXT = "folder"
"""Key of the validation context: the folder against which a relative path is read."""

SERVER_WORDS = ("auto", "package", "path", "own")
"""What `language.server` may be beside a path."""

_DEVICE = re.compile(r"cpu|mps|(cuda|rocm|vulkan):\d{1,3}")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def refuse(message: str, hint: str | None = None) -> PydanticCustomError:
    """A refusal in our words: `message` follows ``<key> = <value>:``, `hint` says what to write instead."""
    context = {"text": message, "hint": hint}
    return PydanticCustomError("refused", "{text}", context)


# ── checks ──────────────────────────────────────────────────────────────────────────────────────────────


def _number(value: object) -> object:
    """YAML's `true` is not the number 1, and neither `.nan` nor `.inf` is a number of anything."""
    if isinstance(value, bool):
        raise refuse("must be a number, not true or false")
    if isinstance(value, float | str) and str(value).strip().lower().lstrip("+-.") in {
        "nan",
        "inf",
        "infinity",
    }:
        raise refuse("must be a finite number")
    return value


def _word(word: str) -> Callable[[object], object]:
    """A check that reads `word` as None, and anything else as a number."""

    def check(value: object) -> object:
        if isinstance(value, str) and value.strip().lower() == word:
            return None
        return _number(value)

    return check


def _bytes(value: object) -> int:
    value = _number(value)
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        raise refuse("is not a whole number of bytes", "write it like 12 GiB or 800 MB")
    if isinstance(value, float):
        value = int(value)
    if not isinstance(value, int | str):
        raise refuse("is not an amount of memory", "write it like 12 GiB or 800 MB")
    if isinstance(value, int):
        return int(value)
    try:
        return parse_bytes(value)
    except (Invalid, OverflowError):
        raise refuse("is not an amount of memory", "write it like 12 GiB or 800 MB") from None


def _folder(value: object, info: ValidationInfo) -> Path:
    """An absolute path; a relative one counts from the folder of the file in which it is written."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise refuse("is not the name of a folder")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise refuse("names a home folder that does not exist") from None
    if path.is_absolute():
        return path
    base = (info.context or {}).get(FOLDER_CONTEXT)
    return (Path.cwd() if base is None else base) / path


def _folder_or_none(value: object, info: ValidationInfo) -> Path | None:
    return None if value is None or value == "" else _folder(value, info)


def _loopback(value: object) -> str:
    host = str(value).strip().lower() if isinstance(value, str) else ""
    if host == "localhost":
        return host
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise refuse("is not an address of this machine", "write 127.0.0.1, ::1 or localhost") from None
    if not address.is_loopback:
        raise refuse(
            "would let other machines in, and there are no accounts yet to tell people apart",
            "use 127.0.0.1; from elsewhere, forward the port: ssh -L 8190:127.0.0.1:8190 HOST",
        )
    return str(address)


def _host_name(value: object) -> str:
    host = value.strip().lower() if isinstance(value, str) else ""
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise refuse("is not a host name", "write it without scheme, port and path, like studio.lan")
    return host


def _device(value: object) -> str:
    device = value.strip().lower() if isinstance(value, str) else ""
    if not _DEVICE.fullmatch(device):
        raise refuse("is not the name of a device", "write cpu, mps, cuda:0, rocm:0 or vulkan:0")
    return device


def _database_url(value: object) -> SecretStr | None:
    if value is None:
        return None
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not re.match(r"(sqlite:///|postgres(ql(\+pg8000)?)?://).", text):
        raise refuse(
            "is not the address of a database that is supported",
            "write postgresql://USER:PASSWORD@HOST/DATABASE, or leave it out for a file in the data folder",
        )
    return SecretStr(text)


def _password(value: object) -> SecretStr | None:
    if value is None:
        return None
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not 8 <= len(text) <= 1024:
        raise refuse("is no password", "write 8 to 1024 characters, in quotation marks if it is a number")
    return SecretStr(text)


def _list(value: object) -> object:
    """``"a, b"`` and ``'["a", "b"]'`` from the environment are lists; a lone value is a list of one."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        return _json(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _map(value: object) -> object:
    """``"cuda:0=12 GiB, cpu=4 GiB"`` and a JSON object from the environment are maps."""
    if not isinstance(value, str):
        return {} if value is None else value
    if value.strip().startswith("{"):
        return _json(value)
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise refuse("is not a map", "write it like cuda:0=12 GiB, cpu=4 GiB")
    return {name.strip(): amount.strip() for name, _, amount in pairs}


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise refuse("is not valid JSON") from None


def _model_id(value: object) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= 512 or not name.isprintable():
        raise refuse("is not the id of a model", "inglenook models lists them")
    return name


def _server(value: object, info: ValidationInfo) -> str:
    """One of the words, or an absolute path; a relative one counts from the folder of the file."""
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() in SERVER_WORDS:
        return text.lower()
    if "/" not in text and "\\" not in text:
        raise refuse("is neither a known word nor a path", "write auto, package, path, own, or a path")
    return str(_folder(text, info))


def _web_address(value: object) -> str:
    text = value.strip().rstrip("/") if isinstance(value, str) else ""
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text):
        raise refuse("is not an address", "write it like https://example.org/releases")
    return text


def _devices(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    devices = _list(value)
    if not isinstance(devices, list | tuple) or not devices:
        raise refuse("names no device", "write auto for all that are found, or a list like [cuda:0, cpu]")
    return tuple(_device(device) for device in devices)


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────

Whole = Annotated[int, BeforeValidator(_number)]
Seconds = Annotated[float, BeforeValidator(_number)]
Share = Annotated[float, BeforeValidator(_number)]
WholeOrAuto = Annotated[int | None, BeforeValidator(_word("auto"))]
WholeOrOff = Annotated[int | None, BeforeValidator(_word("off"))]
SecondsOrNever = Annotated[float | None, BeforeValidator(_word("never"))]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Folder = Annotated[Path, BeforeValidator(_folder)]
FolderOrNone = Annotated[Path | None, BeforeValidator(_folder_or_none)]
LoopbackHost = Annotated[str, BeforeValidator(_loopback)]
HostName = Annotated[str, BeforeValidator(_host_name)]
Device = Annotated[str, BeforeValidator(_device)]
DatabaseUrl = Annotated[SecretStr | None, BeforeValidator(_database_url)]
Password = Annotated[SecretStr | None, BeforeValidator(_password)]
Folders = Annotated[tuple[Folder, ...], BeforeValidator(_list)]
HostNames = Annotated[tuple[HostName, ...], BeforeValidator(_list)]
ServerProgram = Annotated[str, BeforeValidator(_server)]
WebAddress = Annotated[str, BeforeValidator(_web_address)]
ModelName = Annotated[ModelId, BeforeValidator(_model_id)]
ModelNames = Annotated[tuple[ModelName, ...], BeforeValidator(_list)]
Budgets = Annotated[Mapping[Device, Annotated[Bytes, Field(ge=0, le=1 << 50)]], BeforeValidator(_map)]
Ports = Annotated[tuple[Annotated[Whole, Field(ge=1, le=65535)], ...], BeforeValidator(_list)]
Devices = Annotated[Literal["auto"] | tuple[str, ...], BeforeValidator(_devices)]


# ── how a value is written ──────────────────────────────────────────────────────────────────────────────


def as_plain(value: object, *, is_bytes: bool = False) -> Any:
    """The value as JSON can hold it and a person may see it: secrets masked, amounts with their unit."""
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): as_plain(item, is_bytes=is_bytes) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(item, is_bytes=is_bytes) for item in value]
    if is_bytes and isinstance(value, int):
        return _exact_bytes(value)
    return value


def _exact_bytes(count: int) -> str | int:
    """With a unit where that loses nothing, else the bare number."""
    text = format_bytes(count)
    return text if parse_bytes(text) == count else count
