# SPDX-License-Identifier: Apache-2.0
"""Cyber-Inference's configuration keys ↔ settings of ours. Pure."""

import difflib
import math
from collections.abc import Mapping
from typing import Any, Final

from inglenook.base.errors import Denied, Invalid, NotFound
from inglenook.door.problem import shown
from inglenook.settings import Settings

SETTINGS: Final[Mapping[str, str]] = {
    "default_context_size": "language.context",
    "max_context_size": "language.max_context",
    "model_idle_timeout": "runtime.idle_unload_s",
    "max_loaded_models": "runtime.max_loaded",
    "max_memory_percent": "runtime.budgets",
    "llama_threads": "runtime.cpu_threads",
}
"""Keys that stand for a setting which may be changed."""
_FIXED: Final = {
    "host": "server.host",
    "port": "server.port",
    "log_level": "server.log_level",
    "data_dir": "server.data",
    "admin_password": "server.admin_password",
}
_ELSEWHERE: Final = {
    "llama_gpu_layers": "as many layers go to the device as fit; gpu_layers of a load, or of a model's "
    "options, sets it for one model",
    "llama_server_base_port": "processes of models have no ports here",
    "max_gpu_memory_percent": "runtime.budgets says how much memory of each device models may fill",
    "models_dir": "models.folders names further folders with models",
    "hf_token": "nothing is downloaded yet",
    "jwt_secret": "it is made for this installation, and kept in its data folder",
}
CPU: Final = "cpu"
FEWEST_PERCENT, MOST_PERCENT = 1.0, 100.0


class UnknownKey(NotFound):
    default_code = "config.unknown_key"


def running(settings: Settings, *, has_password: bool, memory_percent: float | None) -> dict[str, Any]:
    """The values that count now, by Cyber-Inference's keys. -1 stands for "no limit" and for "all that fit".

    Args:
        memory_percent: how much of the machine's own memory models may fill; None where they do not use it.
    """
    return {
        "host": settings.server.host,
        "port": settings.server.port,
        "log_level": settings.server.log_level.upper(),
        "default_context_size": settings.language.context or settings.language.max_context,
        "max_context_size": settings.language.max_context,
        "model_idle_timeout": -1
        if settings.runtime.idle_unload_s is None
        else settings.runtime.idle_unload_s,
        "max_loaded_models": settings.runtime.max_loaded or -1,
        "max_memory_percent": memory_percent,
        "llama_gpu_layers": -1,
        "llama_threads": settings.runtime.cpu_threads,
        "admin_password_set": has_password,
    }


def setting_of(key: str) -> str:
    """The setting that a key stands for.

    Raises:
        Denied: it is needed before the database is open.
        Invalid: there is no such thing here; the hint says what there is instead.
        UnknownKey: nobody knows it; the hint names the nearest.
    """
    if key in SETTINGS:
        return SETTINGS[key]
    if key in _FIXED:
        raise Denied(
            f"{key} is not changed while the server runs.",
            code="settings.read_only",
            hint=f"set {_FIXED[key]} in config.yaml or in the environment, and restart",
        )
    if key in _ELSEWHERE:
        raise Invalid(
            f"{key} is not a setting here.", field="key", code="config.elsewhere", hint=_ELSEWHERE[key]
        )
    near = difflib.get_close_matches(key, [*SETTINGS, *_FIXED, *_ELSEWHERE], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SETTINGS)}"
    raise UnknownKey(f"There is no key {shown(key)}.", field="key", hint=hint)


def as_setting(key: str, value: Any, settings: Settings, total_bytes: Mapping[str, int]) -> Any:
    """What the setting of `key` would hold. Its own bounds are checked where it is kept.

    Raises:
        Invalid: it is no number, or -1 where that means nothing.
    """
    number = _number(key, value)
    if key == "max_memory_percent":
        return _budgets(number, settings, total_bytes)
    if number == -1 and key in _UNLIMITED:
        return _UNLIMITED[key]
    return int(number) if number.is_integer() else number


_UNLIMITED: Final = {
    "default_context_size": "auto",
    "max_loaded_models": "auto",
    "model_idle_timeout": "never",
    "llama_threads": "auto",
}


def _number(key: str, value: Any) -> float:
    """A number, also as a text: the settings page of that system sends texts."""
    try:
        number = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        )
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(f"{key} must be a number; got {shown(value)}.", field=key)
    return number


def _budgets(percent: float, settings: Settings, total_bytes: Mapping[str, int]) -> dict[str, int]:
    """Of the machine's own memory; budgets of other devices stay."""
    if not FEWEST_PERCENT <= percent <= MOST_PERCENT:
        raise Invalid(
            f"max_memory_percent must be from {FEWEST_PERCENT:g} to {MOST_PERCENT:g}; got {percent:g}.",
            field="max_memory_percent",
        )
    if CPU not in total_bytes:
        raise Invalid("Models do not use the machine's own memory here.", field="max_memory_percent")
    others = {str(device): int(amount) for device, amount in settings.runtime.budgets.items()}
    return {**others, CPU: math.floor(total_bytes[CPU] * percent / 100)}
