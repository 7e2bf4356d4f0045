# SPDX-License-Identifier: Apache-2.0
"""What pictures of other programs tell about how they were made, in our words. Pure; trusts nothing.

    inglenook   our own JSON
    A1111       the text `parameters` (and Forge, SD.Next, Fooocus in its A1111 form …)
    ComfyUI     the graph `prompt`, or `workflow` where only that is there
    InvokeAI    `invokeai_metadata`, and the older `sd-metadata`
    NovelAI     JSON in `Comment`
    ALICE       nothing in the file; its gallery.json

Numbers out of range and words that are not ours are kept under `foreign`, so that nothing that "use again"
takes up can be refused.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from inglenook.base.errors import Invalid
from inglenook.images import comfy, exif, jpeg, metadata, png, webp
from inglenook.images.model import (
    MAX_CLIP_SKIP,
    MAX_GUIDANCE,
    MAX_LORA_WEIGHT,
    MAX_LORAS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STEPS,
    Engine,
)
from inglenook.wire.schedulers import SIGMAS, chosen, takes_sigmas

ENGINES = tuple(one.value for one in Engine if one is not Engine.AUTO)
MAX_TEXTS = 64
MAX_TEXT_CHARS = 8 * 1024 * 1024
MAX_FOREIGN = 64
MAX_FOREIGN_CHARS = 2000
MAX_SIDE = 65_536
MAX_NAME_CHARS = 300

Parameters = dict[str, Any]


def parameters_in(data: bytes) -> Parameters:
    """The parameters in a file; empty where there are none that can be read."""
    own = metadata.read(data)
    if own is not None and "software" in own and "prompt" in own and _is_own(own):
        return _own(own)
    texts = texts_in(data)
    for read in (_invoke, _invoke_old, _comfy, _novelai):
        found = read(texts)
        if found is not None:
            return tidy(found)
    return {} if own is None else _a1111(own)


def _a1111(found: Parameters) -> Parameters:
    """A text with nothing but a prompt may be any program's."""
    known = {**found, "foreign": found.get("other")}
    del known["foreign" if known["foreign"] is None else "other"]
    version = known.pop("software", None)
    if version is not None:
        known["foreign"] = {**(known.get("foreign") or {}), "Version": version}
    return tidy({"software": "A1111" if len(found) > 2 else None, **known})


def _is_own(found: Mapping[str, Any]) -> bool:
    return found.get("software") == "inglenook"


def _own(found: Parameters) -> Parameters:
    """Our own JSON is as far from trust as any: somebody else may have written it."""
    return tidy(found, name=_text(MAX_NAME_CHARS))


# -- texts in files --------------------------------------------------------------------------------------


def texts_in(data: bytes) -> dict[str, str]:
    """What is written in words in a file, by name; in a JPEG or WebP by what ComfyUI puts before."""
    try:
        if data.startswith(png.SIGNATURE):
            return _bounded(_png_texts(data))
        if data.startswith(jpeg.START):
            blocks = (one.data for one in jpeg.segments(data) if one.marker == jpeg.APP1)
            return _bounded(_exif_texts(blocks))
        if data[:4] == b"RIFF":
            return _bounded(_exif_texts(one.data for one in webp.chunks(data) if one.kind == b"EXIF"))
    except Invalid:
        return {}
    return {}


def _png_texts(data: bytes) -> Iterable[tuple[str, str]]:
    for chunk in png.chunks(data):
        pair = png.text_of(chunk) if chunk.kind in (b"tEXt", b"zTXt", b"iTXt") else None
        if pair is not None:
            yield pair


def _exif_texts(blocks: Iterable[bytes]) -> Iterable[tuple[str, str]]:
    """ComfyUI writes `prompt:{…}` and `workflow:{…}` into tags that once named a camera."""
    for block in blocks:
        for text in exif.texts(block.removeprefix(exif.JPEG_PREFIX)):
            name, colon, rest = text.partition(":")
            if colon and name.isalnum():
                yield name.lower(), rest


def _bounded(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    room = MAX_TEXT_CHARS
    for name, text in pairs:
        if len(found) >= MAX_TEXTS or len(text) > room:
            break
        if name not in found:
            found[name] = text
            room -= len(text)
    return found


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


# -- programs --------------------------------------------------------------------------------------------


def _comfy(texts: Mapping[str, str]) -> Parameters | None:
    found = comfy.of_graph(_json(texts.get("prompt"))) or comfy.of_workflow(_json(texts.get("workflow")))
    return None if found is None else {"software": "ComfyUI", **found}


def _invoke(texts: Mapping[str, str]) -> Parameters | None:
    said = _json(texts.get("invokeai_metadata"))
    if not isinstance(said, dict):
        return None
    known = {
        "prompt": said.get("positive_prompt"),
        "negative_prompt": said.get("negative_prompt"),
        "guidance_scale": said.get("cfg_scale"),
        "model": _name_of(said.get("model")),
        "vae": _name_of(said.get("vae")),
        "scheduler": said.get("scheduler"),
        "loras": [
            {"model": _name_of(one.get("model") or one.get("lora")), "weight": one.get("weight")}
            for one in _dicts(said.get("loras"))
        ],
        **{name: said.get(name) for name in ("steps", "seed", "width", "height", "strength", "clip_skip")},
    }
    if isinstance(known["clip_skip"], int) and not isinstance(known["clip_skip"], bool):
        known["clip_skip"] += 1  # there 0 reads the last layer
    taken = {"positive_prompt", "cfg_scale", "model", "vae", "loras", *known}
    rest = {name: value for name, value in said.items() if name not in taken}
    return {"software": "InvokeAI", **known, "foreign": rest}


def _invoke_old(texts: Mapping[str, str]) -> Parameters | None:
    said = _json(texts.get("sd-metadata"))
    image = said.get("image") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(str(one["prompt"]) for one in _dicts(prompt) if isinstance(one.get("prompt"), str))
    prompt, negative = _bracketed(prompt) if isinstance(prompt, str) else ("", "")
    known = {
        "prompt": prompt,
        "negative_prompt": negative,
        "guidance_scale": image.get("cfg_scale"),
        "model": said.get("model_weights"),
        "scheduler": str(image.get("sampler") or "").removeprefix("k_"),
        **{name: image.get(name) for name in ("steps", "seed", "width", "height", "strength")},
    }
    taken = {"cfg_scale", "sampler", *known}
    return {
        "software": "InvokeAI",
        **known,
        "foreign": {name: value for name, value in image.items() if name not in taken},
    }


def _bracketed(prompt: str) -> tuple[str, str]:
    """There, what a picture should not show stood in square brackets."""
    kept: list[str] = []
    negative: list[str] = []
    rest = prompt
    while True:
        before, opened, after = rest.partition("[")
        inside, closed, behind = after.partition("]")
        kept.append(before)
        if not (opened and closed):
            kept.append(opened + inside)
            return " ".join("".join(kept).split()), ", ".join(negative)
        negative.append(inside.strip())
        rest = behind


def _novelai(texts: Mapping[str, str]) -> Parameters | None:
    said = _json(texts.get("Comment"))
    if texts.get("Software") != "NovelAI" or not isinstance(said, dict):
        return None
    known = {
        "prompt": said.get("prompt") or texts.get("Description"),
        "negative_prompt": said.get("uc"),
        "guidance_scale": said.get("scale"),
        "scheduler": str(said.get("sampler") or "").removeprefix("k_"),
        "model": texts.get("Source"),
        **{name: said.get(name) for name in ("steps", "seed", "width", "height", "strength")},
    }
    taken = {"uc", "scale", "sampler", *known}
    rest = {name: value for name, value in said.items() if name not in taken}
    return {"software": "NovelAI", **known, "foreign": rest}


def alice_parameters(record: Mapping[str, Any]) -> Parameters:
    """Those of a record of ALICE's gallery.json, in either of its spellings."""
    both = {_snake(name): value for name, value in record.items()}
    scales, paths = both.get("lora_scales"), both.get("loras")
    weights = list(scales) if isinstance(scales, list) else []
    loras = [
        {"model": _alice_name(name), "weight": weights[i] if i < len(weights) else 1.0}
        for i, name in enumerate(paths if isinstance(paths, list) else [])
        if isinstance(name, str)
    ]
    same = ("prompt", "negative_prompt", "steps", "guidance_scale", "width", "height", "seed", "scheduler")
    known = {name: both.get(name) for name in same}
    model = both.get("model")
    return tidy(
        {
            "software": "ALICE",
            **known,
            "model": _alice_name(model) if isinstance(model, str) else None,
            "loras": loras,
            "seconds": both.get("generation_time"),
            "foreign": {name: both[name] for name in ("id", "created_at", "owner") if name in both},
        }
    )


def _alice_name(name: str) -> str:
    return name.removeprefix("sd/").removeprefix("lora/")


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _name_of(model: Any) -> Any:
    """InvokeAI names a model by itself or by a description of it."""
    if isinstance(model, dict):
        return model.get("name") or model.get("model_name") or model.get("key")
    return model


# -- into what we know -----------------------------------------------------------------------------------


def _name(value: Any) -> str | None:
    """A model by its name alone: no folder, no suffix of a file."""
    if not isinstance(value, str) or not value.strip():
        return None
    plain = PurePosixPath(value.strip().replace("\\", "/")[:MAX_NAME_CHARS])
    known = plain.suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft")
    return (plain.stem if known else plain.name) or None


def tidy(found: Mapping[str, Any], *, name: Callable[[Any], str | None] = _name) -> Parameters:
    """Only values of the kinds and in the ranges that ours have; the rest, in short, under `foreign`.

    Args:
        name: reads the name of a model.
    """
    readers: dict[str, Callable[[Any], Any]] = {**_READERS, "model": name, "vae": name}
    readers["loras"] = lambda value: _loras(value, name)
    kept: Parameters = {}
    foreign: dict[str, Any] = {}
    for key, value in found.items():
        if value is None or value in ("", [], {}):
            continue
        if key == "foreign":
            foreign |= value if isinstance(value, dict) else {}
            continue
        read = readers.get(key)
        good = None if read is None else read(value)
        if good is None:
            foreign[key] = value
        else:
            kept[key] = good
    _tidy_scheduler(kept, foreign)
    kept.setdefault("prompt", "")
    if foreign:
        kept["foreign"] = _short(foreign)
    return kept


def _tidy_scheduler(kept: Parameters, foreign: dict[str, Any]) -> None:
    """By our own names; what is not ours is not offered again."""
    name, sigmas = kept.pop("scheduler", None), kept.pop("sigmas", None)
    ours = None if name is None else chosen(name)
    if name is not None and ours is None:
        foreign["scheduler"] = name
    if ours is not None:
        kept["scheduler"] = ours.scheduler
    wanted = sigmas if ours is None or ours.sigmas is None else ours.sigmas
    if wanted in SIGMAS and ours is not None and takes_sigmas(ours.scheduler, wanted):
        kept["sigmas"] = wanted
    elif wanted is not None:
        foreign["sigmas"] = wanted


def _text(most: int) -> Callable[[Any], str | None]:
    return lambda value: value[:most] if isinstance(value, str) else None


def _whole(low: int, high: int) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return value if fits else None

    return read


def _real(low: float, high: float) -> Callable[[Any], float | None]:
    def read(value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
            return None
        return float(value) if math.isfinite(value) and low <= value <= high else None

    return read


def _loras(value: Any, name: Callable[[Any], str | None]) -> list[dict[str, Any]] | None:
    weight = _real(-MAX_LORA_WEIGHT, MAX_LORA_WEIGHT)
    found = []
    for one in _dicts(value)[:MAX_LORAS]:
        model, strength = name(one.get("model")), weight(one.get("weight"))
        if model:
            found.append({"model": model, "weight": 1.0 if strength is None else strength})
    return found or None


def _hires(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    side = _whole(1, MAX_SIDE)
    read: Mapping[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("width", "height", "first_width", "first_height"), side),
        "steps": _whole(1, MAX_STEPS),
        "strength": _real(0, 1),
        "scale": _real(0, 100),
        "upscaler": lambda one: one if one in ("pixels", "latent") else None,
    }
    found = {name: read[name](value.get(name)) for name in read}
    if any(found[name] is None for name in ("width", "height", "strength", "upscaler")):
        return None
    return {name: one for name, one in found.items() if one is not None}


def _mode(value: Any) -> str | None:
    return value if value in ("text", "image", "inpaint", "edit") else None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "software": _text(100),
    "prompt": _text(MAX_PROMPT_CHARS),
    "negative_prompt": _text(MAX_PROMPT_CHARS),
    "mode": _mode,
    "engine": lambda value: value if value in ENGINES else None,
    "matted_by": _text(MAX_NAME_CHARS),
    "steps": _whole(1, MAX_STEPS),
    "guidance_scale": _real(0, MAX_GUIDANCE),
    "scheduler": _text(100),
    "sigmas": _text(100),
    "seed": _whole(0, MAX_SEED),
    "width": _whole(1, MAX_SIDE),
    "height": _whole(1, MAX_SIDE),
    "drawn_width": _whole(1, MAX_SIDE),
    "drawn_height": _whole(1, MAX_SIDE),
    "strength": _real(0, 1),
    "clip_skip": _whole(1, MAX_CLIP_SKIP),
    "hires": _hires,
    "seconds": _real(0, 1e6),
    "transparent": lambda value: value if isinstance(value, bool) else None,
}


def _short(foreign: Mapping[str, Any]) -> dict[str, str]:
    """As texts, few and short: for people to read, and for nothing else."""
    found: dict[str, str] = {}
    for name, value in list(foreign.items())[:MAX_FOREIGN]:
        try:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, RecursionError):
            continue
        found[str(name)[:100]] = text[:MAX_FOREIGN_CHARS]
    return found


def alice_records(document: Any) -> dict[str, dict[str, Any]] | None:
    """The records of ALICE's `gallery.json`, read as JSON, by the names of files; None if it is none."""
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, dict):
        return None
    found = {}
    for name, record in images.items():
        if isinstance(record, dict):
            file = record.get("filename")
            found[file if isinstance(file, str) and file else f"{name}.png"] = record
    return found
