# SPDX-License-Identifier: Apache-2.0
"""The parts of a diffusers folder, read one by one; nothing in it is taken on trust."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5EncoderModel,
    T5Tokenizer,
)

from inglenook.workers.image.errors import LoadCorrupt, LoadUnsupported
from inglenook.workers.image.weights import fitting, read_json, require_whole, variant_of

TEXT_CLASSES: Mapping[str, Any] = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
    "T5EncoderModel": T5EncoderModel,
    "Qwen2_5_VLForConditionalGeneration": Qwen2_5_VLForConditionalGeneration,
}
TOKENIZER_CLASSES: Mapping[str, Any] = {
    "CLIPTextModel": CLIPTokenizer,
    "CLIPTextModelWithProjection": CLIPTokenizer,
    "T5EncoderModel": T5Tokenizer,
    "Qwen2_5_VLForConditionalGeneration": Qwen2Tokenizer,
}
"""By the class of the text encoder that reads their tokens."""

VAE_CLASSES: Mapping[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


def read_index(folder: Path, pipelines: Collection[str], family: str) -> dict[str, Any]:
    """`model_index.json`. Raises `LoadUnsupported` when the folder is one of another family."""
    index = read_json(folder / "model_index.json")
    pipeline = index.get("_class_name")
    if pipeline not in pipelines:
        raise LoadUnsupported(
            f"{folder.name} is a folder of {pipeline}, which is not of the family {family}."
        )
    return index


def has_part(index: Mapping[str, Any], part: str) -> bool:
    return (index.get(part) or [None])[0] is not None


def read_part(folder: Path, part: str, classes: Mapping[str, Any], dtype: torch.dtype) -> torch.nn.Module:
    """A network of diffusers from `folder/part`; "" is the folder itself.

    Args:
        classes: those that are loaded here, by the name in the part's `config.json`.

    Raises `LoadCorrupt`, `LoadUnsupported`.
    """
    name = str(read_json(folder / part / "config.json").get("_class_name"))
    if name not in classes:
        raise LoadUnsupported(f"{folder.name}/{part} is a {name}; {' or '.join(classes)} is loaded here.")
    with fitting(f"{folder.name}/{part}"):
        module, report = classes[name].from_pretrained(
            folder / part,
            dtype=dtype,
            use_safetensors=True,
            variant=variant_of(folder / part),
            local_files_only=True,
            output_loading_info=True,
        )
    require_complete(f"{folder.name}/{part}", report)
    require_whole(module, part)
    return module


def read_text_encoder(folder: Path, part: str, class_name: str, dtype: torch.dtype) -> torch.nn.Module:
    """As `read_part`, for an encoder of transformers."""
    if class_name not in TEXT_CLASSES:
        raise LoadUnsupported(
            f"{folder.name}/{part} is a {class_name}; {' or '.join(TEXT_CLASSES)} is loaded here."
        )
    with fitting(f"{folder.name}/{part}"):
        module, report = TEXT_CLASSES[class_name].from_pretrained(
            folder / part,
            dtype=dtype,
            use_safetensors=True,
            variant=variant_of(folder / part),
            local_files_only=True,
            output_loading_info=True,
        )
    require_complete(f"{folder.name}/{part}", report)
    return module


def read_tokenizer(folder: Path, part: str, class_name: str) -> Any:
    """Args:
    part: the text encoder; its tokenizer lies in the folder of the same number.
    class_name: of the text encoder.
    """
    place = folder / part.replace("text_encoder", "tokenizer")
    if not place.is_dir():
        raise LoadCorrupt(f"The model folder {folder.name} has no {place.name}.")
    return configured(TOKENIZER_CLASSES[class_name], place)


def configured(kind: Any, place: Path) -> Any:
    """A tokenizer or a processor of transformers, from its folder. Raises `LoadCorrupt` for files that are
    cut short or are not what they should be."""
    for file in sorted(place.glob("*.json")):
        read_json(file)
    try:
        return kind.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LoadCorrupt(f"{place.parent.name}/{place.name} cannot be read: {error}") from error


def require_complete(part: str, report: Mapping[str, Iterable[Any]]) -> None:
    """Raises `LoadCorrupt` when weights are absent or of another shape than the configuration says."""
    missing = sorted(str(key) for key in report.get("missing_keys", ()) if "position_ids" not in str(key))
    if missing:
        raise LoadCorrupt(f"{part} lacks {len(missing)} tensors, the first of them {missing[0]!r}.")
    if report.get("mismatched_keys"):
        first = next(iter(report["mismatched_keys"]))
        raise LoadCorrupt(f"{part}: the weights do not have the shapes that its config.json gives: {first}.")
