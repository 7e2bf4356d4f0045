# SPDX-License-Identifier: Apache-2.0
"""The parts of a folder of diffusers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inglenook.workers.image.errors import CONVERT_HINT, LoadCorrupt, LoadUnsupported
from inglenook.workers.mlx.build import network
from inglenook.workers.mlx.convert.source import Model, Part, Weights, read_json, wanted_of
from inglenook.workers.mlx.networks.layers import array_tree

TEXT_PARTS = {"sd1": ("text_encoder",), "sd2": ("text_encoder",), "sdxl": ("text_encoder", "text_encoder_2")}
_TEXT_CLASSES = {"CLIPTextModel": False, "CLIPTextModelWithProjection": True}
_PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
_STEMS = ("diffusion_pytorch_model", "model")
_LENGTH_TOKENS = 77
_OLD_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""What the attention of early VAEs is called."""


def read_folder(folder: Path, family: str) -> Model:
    """Raises `LoadCorrupt`, `LoadUnsupported`."""
    index = read_json(folder / "model_index.json")
    parts = [_unet(folder), _vae(folder)]
    tokenizers: dict[str, Mapping[str, Any]] = {}
    for name in TEXT_PARTS[family]:
        told = index.get(name) or [None, None]
        if told[0] is None:
            raise LoadUnsupported(f"{folder.name} has no {name}; it is half of a model, such as a refiner.")
        parts.append(_text(folder, name, str(told[1])))
        place = name.replace("text_encoder", "tokenizer")
        tokenizers[place] = read_tokenizer(folder / place)
    return Model(
        parts=tuple(parts),
        tokenizers=tokenizers,
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        options={key: value for key, value in index.items() if not isinstance(value, list)},
        revision=_revision(folder),
    )


def _revision(folder: Path) -> str | None:
    """A folder in the cache of a hub is called after the commit that it is of."""
    return (
        folder.name
        if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name)
        else None
    )


def weights_in(place: Path) -> Weights:
    """The plain files, else those in half precision. Raises `LoadCorrupt`, `LoadUnsupported`."""
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else []
    for variant in ("", ".fp16"):
        pattern = re.compile(rf"({'|'.join(_STEMS)}){re.escape(variant)}(-\d+-of-\d+)?\.safetensors")
        found = [file for file in files if pattern.fullmatch(file.name)]
        if found:
            return Weights(*found)
    shown = f"{place.parent.name}/{place.name}"
    if place.is_dir() and any(file.suffix in _PICKLES for file in place.iterdir()):
        raise LoadUnsupported(f"{shown} holds its weights as a pickle only.", hint=CONVERT_HINT)
    raise LoadCorrupt(f"{shown} holds no weights in a .safetensors file.")


def _unet(folder: Path) -> Part:
    config = read_json(folder / "unet" / "config.json")
    weights = weights_in(folder / "unet")
    names = array_tree(network("unet", config))
    found = {key: weights.weight(key) for key in weights.shapes}
    return Part("unet", config, wanted_of("unet", names, found))


def _vae(folder: Path) -> Part:
    config = read_json(folder / "vae" / "config.json")
    weights = weights_in(folder / "vae")
    names = array_tree(network("vae", config))
    found = {}
    for key in weights.shapes:
        name = re.sub(
            r"(?<=attentions\.0\.)(query|key|value|proj_attn)(?=\.)",
            lambda match: _OLD_ATTENTION[match[0]],
            key,
        )
        found[name] = weights.weight(key, linear=".attentions.0.to_" in f".{name}")
    return Part("vae", config, wanted_of("vae", names, found), full=bool(config.get("force_upcast")))


def _text(folder: Path, part: str, class_name: str) -> Part:
    if class_name not in _TEXT_CLASSES:
        raise LoadUnsupported(f"{folder.name}/{part} is a {class_name}; the MLX engine reads CLIP's texts.")
    config = {**read_json(folder / part / "config.json"), "projected": _TEXT_CLASSES[class_name]}
    weights = weights_in(folder / part)
    names = array_tree(network(part, config))
    found = {key.removeprefix("text_model."): weights.weight(key) for key in weights.shapes}
    return Part(part, config, wanted_of(part, names, found))


def read_tokenizer(place: Path) -> dict[str, Any]:
    """CLIP's words and merges, as `tokenizer.ClipTokenizer` takes them. Raises `LoadCorrupt`."""
    told = read_json(place / "tokenizer_config.json") if (place / "tokenizer_config.json").is_file() else {}
    whole = place / "tokenizer.json"
    if (place / "vocab.json").is_file() and (place / "merges.txt").is_file():
        words, merges = read_json(place / "vocab.json"), _merges(place / "merges.txt")
    elif whole.is_file():
        model = read_json(whole).get("model")
        if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
            raise LoadCorrupt(f"{place.parent.name}/{place.name}/tokenizer.json holds no vocabulary.")
        words = model["vocab"]
        merges = [
            pair.split(" ") if isinstance(pair, str) else list(pair) for pair in model.get("merges", ())
        ]
    else:
        raise LoadCorrupt(f"{place.parent.name}/{place.name} holds no vocabulary.")
    marks = {
        "start": _mark(told, "bos_token", "<|startoftext|>"),
        "end": _mark(told, "eos_token", "<|endoftext|>"),
        "pad": _mark(told, "pad_token", "<|endoftext|>"),
    }
    absent = [mark for mark in marks.values() if mark not in words]
    if absent:
        raise LoadCorrupt(
            f"{place.parent.name}/{place.name} has no word {absent[0]!r}, which it marks texts with."
        )
    length = told.get("model_max_length", _LENGTH_TOKENS)
    return {
        "vocabulary": words,
        "merges": merges,
        **marks,
        "length": length if isinstance(length, int) and 2 < length <= 10_000 else _LENGTH_TOKENS,
    }


def _merges(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadCorrupt(f"{path.parent.name}/{path.name} cannot be read: {error}.") from error
    return [line.split(" ") for line in lines if line.count(" ") == 1 and not line.startswith("#version")]


def _mark(told: Mapping[str, Any], field: str, otherwise: str) -> str:
    value = told.get(field, otherwise)
    return (
        str(value["content"]) if isinstance(value, dict) and "content" in value else str(value or otherwise)
    )
