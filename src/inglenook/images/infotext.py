# SPDX-License-Identifier: Apache-2.0
"""The `parameters` text that A1111's tools write into pictures and read from them. Pure.

    a red fox, best quality                              the prompt, one or more lines
    Negative prompt: blurry                              left out when it is empty; one or more lines
    Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 1, Size: 512x512, Model: lab/fox

In the last line a value that holds a comma, a colon or a line break, or begins with a quotation mark, is
written as a JSON string. The form cannot tell a prompt's own "Negative prompt:" line from the real one: that
is what the JSON beside it in our files is for.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from inglenook.images import addons
from inglenook.wire.schedulers import chosen, chosen_sigmas, names_no_schedule

NEGATIVE = "Negative prompt:"

SAMPLERS: Mapping[str, str] = {
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm2": "DPM2",
    "dpm2_a": "DPM2 a",
    "ddim": "DDIM",
    "pndm": "PLMS",
    "lms": "LMS",
    "lcm": "LCM",
    "unipc": "UniPC",
    "dpm++_2m": "DPM++ 2M",
    "dpm++_2m_karras": "DPM++ 2M Karras",
    "dpm++_2m_sde": "DPM++ 2M SDE",
    "dpm++_3m": "DPM++ 3M",
    "dpm++_sde": "DPM++ SDE",
    "dpm++_sde_karras": "DPM++ SDE Karras",
    "flow_match_euler": "Flow Match Euler",
}
"""Our schedulers as A1111 calls them, or would."""
SCHEDULE_TYPES: Mapping[str, str] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
}
"""Our sigma schedules as A1111 calls them."""

_FIELD = re.compile(r'\s*([^\s:,"][^:,"\n]{0,99}):\s*("(?:[^"\\]|\\.)*"|[^,\n]*)(?:,|$)')
_NEEDS_QUOTES = re.compile(r'[,:\n]|^"|^\s|\s$')
_SIZE = re.compile(r"(\d{1,6})\s*x\s*(\d{1,6})")


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """The text of these parameters.

    Args:
        parameters: any of prompt, negative_prompt, steps, scheduler, sigmas, guidance_scale, seed, width and
            height, model, strength, loras, clip_skip, vae, hires, software. Missing and None are left out;
            other keys are not part of this form.
    """
    lines = [str(parameters.get("prompt", "")) + addons.lora_tags(parameters)]
    negative = parameters.get("negative_prompt")
    if negative:
        lines.append(f"{NEGATIVE} {negative}")
    fields = [f"{key}: {_quoted(value)}" for key, value in _fields(parameters) if value is not None]
    if fields:
        lines.append(", ".join(fields))
    return "\n".join(lines)


def _fields(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    scheduler, sigmas = parameters.get("scheduler"), parameters.get("sigmas")
    width, height = addons.first_size(parameters)
    return [
        ("Steps", parameters.get("steps")),
        ("Sampler", SAMPLERS.get(scheduler, scheduler) if isinstance(scheduler, str) else None),
        ("Schedule type", SCHEDULE_TYPES.get(sigmas, sigmas) if isinstance(sigmas, str) else None),
        ("CFG scale", _plain(parameters.get("guidance_scale"))),
        ("Seed", parameters.get("seed")),
        ("Size", None if width is None or height is None else f"{width}x{height}"),
        ("Model", parameters.get("model")),
        ("Denoising strength", _plain(addons.strength_of(parameters))),
        *addons.fields_of(parameters),
        ("Version", parameters.get("software")),
    ]


def _plain(number: Any) -> Any:
    """7.0 as 7: readers of this form expect no needless fraction."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text


def parse_parameters_text(text: str) -> dict[str, Any]:
    """What a `parameters` text says, in our words; never raises.

    Returns:
        prompt and negative_prompt always; steps, scheduler, sigmas, guidance_scale, seed, width, height,
        model, strength, loras, clip_skip, vae, hires and software as far as they stand there and can be read.
        Anything else of the last line is under `other`, by A1111's own names, as text.
    """
    lines = text.rstrip("\n").split("\n")
    fields = _parse_fields(lines[-1])
    if fields is None:
        fields = {}
    else:
        lines = lines[:-1]
    start = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(NEGATIVE).removeprefix(" ")
    prompt, loras = addons.take_loras("\n".join(lines[:start]))
    found: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative}
    return found | ({"loras": loras} if loras else {}) | _translated(fields)


def _parse_fields(line: str) -> dict[str, str] | None:
    """The last line as names and texts, or None when it is no such line: it must begin with `Steps: `, or be
    made of at least three fields and nothing else."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(line):
        match = _FIELD.match(line, at)
        if match is None or match.end() == at:
            break
        fields.setdefault(match[1].strip(), _unquoted(match[2]))
        at = match.end()
    whole = not line[at:].strip()
    if fields and (line.startswith("Steps: ") or (whole and len(fields) >= 3)):
        return fields
    return None


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text.strip()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _translated(fields: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    other: dict[str, str] = {}
    for name, text in fields.items():
        if name in ("Sampler", "Schedule type"):
            continue
        key, read = _READERS.get(name, ("", None))
        value = None if read is None else read(text)
        if value is not None:
            found[key] = value
        elif name == "Size" and (size := _SIZE.fullmatch(text)):
            found["width"], found["height"] = int(size[1]), int(size[2])
        elif name not in addons.NAMES:
            other[name] = text
    found |= _sampling(fields.get("Sampler"), fields.get("Schedule type"), other)
    found |= addons.read(fields, found)
    found = {name: value for name, value in found.items() if value is not None}
    return found | ({"other": other} if other else {})


def _sampling(sampler: str | None, schedule: str | None, other: dict[str, str]) -> dict[str, str]:
    """Our scheduler and sigma schedule; a schedule that is not known goes to `other`.

    Older files say both in one ("DPM++ 2M Karras"), newer ones apart. A sampler that is not known keeps its
    name: a request with it is refused, and says which there are.
    """
    found: dict[str, str] = {}
    if sampler is not None:
        meant = chosen(sampler)
        found = {"scheduler": sampler if meant is None else meant.scheduler}
        if meant is not None and meant.sigmas is not None:
            found["sigmas"] = meant.sigmas
    if schedule is None or names_no_schedule(schedule):
        return found
    sigmas = chosen_sigmas(schedule)
    if sigmas is None:
        other["Schedule type"] = schedule
        return found
    return found | {"sigmas": sigmas}


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,20})?(e-[0-9]{1,3})?", text) else None


_READERS: Mapping[str, tuple[str, Callable[[str], Any] | None]] = {
    "Steps": ("steps", _integer),
    "CFG scale": ("guidance_scale", _number),
    "Seed": ("seed", _integer),
    "Model": ("model", str),
    "Denoising strength": ("strength", _number),
    "Version": ("software", str),
}
