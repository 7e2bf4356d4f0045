# SPDX-License-Identifier: Apache-2.0
"""Qwen-Image and Qwen-Image-Edit: a transformer over patches of latents, led by Qwen2.5-VL."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from diffusers import QwenImageTransformer2DModel
from PIL import Image

from inglenook.wire.families import EDIT as BY_INSTRUCTION
from inglenook.wire.families import FAMILIES
from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import DrawInvalid, LoadUnsupported
from inglenook.workers.image.families import qwen_files, qwen_text
from inglenook.workers.image.families.family import Inpaint, Text, as_input
from inglenook.workers.image.families.flow import (
    PATCH_LATENTS,
    FlowTransformer,
    packed,
    require_width,
    unpacked,
)
from inglenook.workers.image.families.held import Held
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.schedulers import Scheduler
from inglenook.workers.image.weights import Checkpoint, check_folder, read_json

_EDIT, _EDIT_SEVERAL = "edit", "edit-plus"
_VARIANT_OF_PIPELINE: Final[Mapping[str, str]] = {
    "QwenImagePipeline": "",
    "QwenImageImg2ImgPipeline": "",
    "QwenImageInpaintPipeline": "",
    "QwenImageEditPipeline": _EDIT,
    "QwenImageEditInpaintPipeline": _EDIT,
    "QwenImageEditPlusPipeline": _EDIT_SEVERAL,
}
_INSTRUCTIONS: Final = {
    "": qwen_text.DESCRIBE,
    _EDIT: qwen_text.EDIT,
    _EDIT_SEVERAL: qwen_text.EDIT_SEVERAL,
}
_NOT_READ: Final = ("guidance_embeds", "use_additional_t_cond", "use_layer3d_rope")
_REFERENCE_MULTIPLE_PX = 32
_LONGEST_TO_SHORTEST = 100


@dataclass(frozen=True)
class Reading(Text):
    """Attributes:
    negative: (1, tokens, width) of the negative prompt, of its own length; None without guidance.
    references: latents of the pictures that the prompt is about, each (1, channels, height, width).
    """

    negative: torch.Tensor | None = None
    references: tuple[torch.Tensor, ...] = ()


class QwenImage(FlowTransformer):
    """Attributes:
    seen_px: area in pixels to which a reference is brought before the text encoder looks at it.
    drawn_px: area to which it is brought before the model is given its latents.
    """

    name = "qwen-image"
    network_classes: ClassVar[Mapping[str, Any]] = {
        "QwenImageTransformer2DModel": QwenImageTransformer2DModel
    }
    vae_classes: ClassVar[Mapping[str, Any]] = qwen_files.VAE_CLASSES
    text_parts = ("text_encoder",)
    pipelines = frozenset(_VARIANT_OF_PIPELINE)

    def __init__(self, *, modules: dict[str, torch.nn.Module], **told: Any) -> None:
        pipeline = told["options"].get("_class_name")
        told["variant"] = _VARIANT_OF_PIPELINE.get(pipeline, told["variant"])
        self._reader = qwen_text.Reader(told["tokenizers"]["text_encoder"])
        modules["text_encoder"] = _without_speech(modules["text_encoder"], looks=told["variant"] != "")
        super().__init__(modules=modules, **told)
        unknown = [name for name in _NOT_READ if self._network_config.get(name)]
        if unknown:
            raise LoadUnsupported(
                f"The transformer takes an input that is not given here ({unknown[0]}).",
                hint="guidance-distilled and layered variants of Qwen-Image are not drawn with",
            )
        takes, given = int(self._network_config["in_channels"]), PATCH_LATENTS**2 * self._channels
        if takes != given:
            raise LoadUnsupported(
                f"The transformer takes {takes} channels a token; the VAE's latents give {given}."
            )
        text = modules["text_encoder"].config
        width = getattr(text, "text_config", text).hidden_size
        require_width("states of texts", width, self._network_config["joint_attention_dim"])
        self._instruction = _INSTRUCTIONS[self.variant]
        self.seen_px = 384**2 if self.variant == _EDIT_SEVERAL else 1024**2
        self.drawn_px = 1024**2

    @classmethod
    def from_folder(cls, folder: Path, *, variant: str, dtype: torch.dtype, device: Device) -> Self:
        model = super().from_folder(folder, variant=variant, dtype=dtype, device=device)
        if model.max_references:
            place = folder / "processor"
            model._reader.eyes = qwen_text.eyes(place if place.is_dir() else None)
        return model

    @classmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """The transformer in the names of diffusers; text encoder and VAE from `parts` or the same file."""
        file = Checkpoint(path)
        transformer = qwen_files.find_transformer(file)
        if transformer is None:
            raise LoadUnsupported(f"{path.name} holds no transformer of the family {cls.name}.")
        encoder = _other_part(
            file, parts, "text_encoder", "a text encoder (Qwen2.5-VL)", qwen_files.find_encoder
        )
        vae = _other_part(file, parts, "vae", "a VAE", qwen_files.find_vae)
        tokenizer = _tokenizer(parts)
        picture = tokenizer.convert_tokens_to_ids(qwen_text.PICTURE)
        model = cls(
            modules={
                "transformer": qwen_files.read_transformer(transformer, dtype),
                "vae": qwen_files.read_vae(vae, dtype),
                "text_encoder": qwen_files.read_encoder(encoder, dtype, picture_token=picture),
            },
            tokenizers={"text_encoder": tokenizer},
            scheduler=read_json(CONFIGS / cls.name / "scheduler" / "scheduler_config.json"),
            options={},
            variant=variant,
            dtype=dtype,
            device=device,
        )
        if model.max_references:
            model._reader.eyes = qwen_text.eyes(None)
        return model

    @property
    def pixels_per_latent(self) -> int:
        return int(2 ** len(self._vae_config["temperal_downsample"]))

    @property
    def max_references(self) -> int:
        variant = FAMILIES[self.name].variant(self.variant)
        return variant.max_pictures if BY_INSTRUCTION in variant.modes else 0

    def set_timesteps(self, scheduler: Scheduler, steps: int, *, width: int, height: int) -> None:
        """The last level of a run is stretched to a given one; a single step is first and last, and stays."""
        if steps == 1 and scheduler.config.get("shift_terminal"):
            scheduler.register_to_config(shift_terminal=None)  # type: ignore[attr-defined]
        super().set_timesteps(scheduler, steps, width=width, height=height)

    def encode_text(
        self, prompt: str, negative_prompt: str, *, guidance_scale: float | None, width: int, height: int
    ) -> Text:
        """Raises `DrawInvalid` for a model that was trained to edit."""
        del width, height  # these models are not told the size
        if self.max_references:
            raise DrawInvalid(
                "This model edits: it draws only from reference pictures.",
                hint="give at least one, in the mode 'edit', or choose Qwen-Image without Edit in its name",
                field="references",
            )
        return self._reading(prompt, negative_prompt, guidance_scale, [], [])

    def encode_instruction(
        self,
        prompt: str,
        negative_prompt: str,
        references: Sequence[np.ndarray],
        *,
        guidance_scale: float | None,
        width: int,
        height: int,
    ) -> Text:
        """Each reference is shown twice: to the text encoder, and to the model as latents beside its own."""
        del width, height  # the references keep their own shapes
        pictures = [Image.fromarray(pixels) for pixels in references]
        seen = [_of_area(picture, self.seen_px) for picture in pictures]
        latents = [self._reference(_of_area(picture, self.drawn_px)) for picture in pictures]
        return self._reading(prompt, negative_prompt, guidance_scale, seen, latents)

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: Text, inpaint: Inpaint | None
    ) -> torch.Tensor:
        del inpaint  # the loop puts the rest of the picture back
        assert isinstance(text, Reading)
        height, width = latents.shape[2:]
        own = packed(latents)
        given = torch.cat([own, *(packed(reference) for reference in text.references)], dim=1).to(self._dtype)
        shapes = [_in_patches(one) for one in (latents, *text.references)]

        def ask(embeds: torch.Tensor) -> torch.Tensor:
            answer = self._parts.use("transformer")(
                hidden_states=given,
                timestep=timestep.reshape(1).to(given.device) / 1000,
                encoder_hidden_states=embeds,
                img_shapes=[shapes],
                return_dict=False,
            )[0]
            return answer[:, : own.shape[1]].float()

        answer = ask(text.embeds)
        if text.negative is not None:
            assert text.guidance_scale is not None
            answer = _guided(ask(text.negative), answer, text.guidance_scale)
        return unpacked(answer, height, width)

    def _reading(
        self,
        prompt: str,
        negative_prompt: str,
        guidance_scale: float | None,
        seen: Sequence[Image.Image],
        latents: Sequence[torch.Tensor],
    ) -> Reading:
        """Without a negative prompt these models are guided away from a blank."""
        encoder = self._parts.use("text_encoder")
        embeds, dropped = self._reader.read(encoder, self._instruction, prompt, seen)
        negative = None
        if guidance_scale is not None:
            negative, also_dropped = self._reader.read(
                encoder, self._instruction, negative_prompt or " ", seen
            )
            negative, dropped = negative.to(self._dtype), max(dropped, also_dropped)
        return Reading(
            embeds=embeds.to(self._dtype),
            guidance_scale=guidance_scale,
            dropped_tokens=dropped,
            negative=negative,
            references=tuple(latents),
        )

    def _reference(self, picture: Image.Image) -> torch.Tensor:
        return self.scale(self.posterior(as_input(np.asarray(picture))).mean)

    def _latent_channels(self) -> int:
        return int(self._vae_config["z_dim"])

    def _read_vae(self, place: Path) -> torch.nn.Module:
        if place.is_dir():
            part = place / "vae" if (place / "vae").is_dir() else place
            check_folder(part.parent, (part.name,))
            return qwen_files.read_vae(part, self._dtype)
        found = qwen_files.find_vae(Checkpoint(place))
        if found is None:
            raise LoadUnsupported(f"{place.name} holds no VAE of the family {self.name}.")
        return qwen_files.read_vae(found, self._dtype)

    def _latents_of(self, vae: Any) -> tuple[int, int]:
        return int(vae.config["z_dim"]), int(2 ** len(vae.config["temperal_downsample"]))


def _guided(without: torch.Tensor, with_prompt: torch.Tensor, scale: float) -> torch.Tensor:
    """Guidance for (1, tokens, features), each token brought back to its length with the prompt."""
    mixed = without + scale * (with_prompt - without)
    return mixed * (with_prompt.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True))


def _in_patches(latents: torch.Tensor) -> tuple[int, int, int]:
    """Frames, rows and columns of tokens."""
    return (1, latents.shape[2] // PATCH_LATENTS, latents.shape[3] // PATCH_LATENTS)


def _of_area(picture: Image.Image, area_px: int) -> Image.Image:
    """The picture at nearly its shape and nearly that area, both sides multiples of 32.

    Raises `DrawInvalid` when it is too long for its height.
    """
    ratio = picture.width / picture.height
    if not 1 / _LONGEST_TO_SHORTEST <= ratio <= _LONGEST_TO_SHORTEST:
        raise DrawInvalid(
            f"A reference picture is {picture.width} x {picture.height} pixels; "
            f"one side may be {_LONGEST_TO_SHORTEST} times the other at most.",
            field="references",
        )
    width = math.sqrt(area_px * ratio)
    sides = [
        max(1, round(side / _REFERENCE_MULTIPLE_PX)) * _REFERENCE_MULTIPLE_PX
        for side in (width, width / ratio)
    ]
    return picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)


def _without_speech(encoder: Any, *, looks: bool) -> torch.nn.Module:
    """What is read of Qwen2.5-VL: never the head that makes words, and its eyes only where pictures come."""
    inner = encoder.model
    return inner if looks else inner.language_model


def _other_part(
    file: Checkpoint,
    parts: Mapping[str, Path],
    role: str,
    what: str,
    find: Callable[[Checkpoint], Held | None],
) -> Path | Held:
    """Where a component is: in a place that was named, or in the file itself."""
    place = parts.get(role)
    if place is not None and place.is_dir():
        return place
    held = find(file if place is None else Checkpoint(place))
    if held is not None:
        return held
    if place is not None:
        raise LoadUnsupported(f"{place.name} does not hold {what} of Qwen-Image.")
    raise LoadUnsupported(
        f"{file.path.name} holds the transformer of Qwen-Image alone; {what} is needed as well.",
        hint="put it into the models folder: as a single file, or as a diffusers folder of the same family",
    )


def _tokenizer(parts: Mapping[str, Path]) -> Any:
    """The one that was named, the one beside the text encoder's folder, or our own."""
    named, encoder = parts.get("tokenizer"), parts.get("text_encoder")
    beside = encoder.parent / "tokenizer" if encoder is not None and encoder.is_dir() else None
    for place in (named, beside):
        if place is not None and place.is_dir():
            return qwen_text.read_tokenizer(place)
    return qwen_text.tokenizer()
