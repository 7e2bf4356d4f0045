# SPDX-License-Identifier: Apache-2.0
"""What the families have in common whose model is a UNet over the latents of a VAE, led by CLIP texts."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from inglenook.wire.image import EmbeddingUse, SavingLevel
from inglenook.workers.image.device import Device
from inglenook.workers.image.embeddings import read_embeddings
from inglenook.workers.image.errors import LoadCorrupt, LoadUnsupported, NotFinite
from inglenook.workers.image.families import clip_prompt
from inglenook.workers.image.families.family import Family, Inpaint, Posterior, Text
from inglenook.workers.image.parts import Parts
from inglenook.workers.image.preview import LinearMap, measure_map
from inglenook.workers.image.schedulers import SchedulerFactory
from inglenook.workers.image.weights import check_folder, fitting, read_json, require_whole, variant_of

TEXT_CLASSES: Mapping[str, Any] = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}
VAE_CLASSES: Mapping[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


class LatentUNet(Family):
    """Args:
    modules: `unet`, `vae`, and the text encoders under the names in `text_parts`; in host memory.
    tokenizers: one for each text encoder, under the same names.
    scheduler: the model's own scheduler configuration.
    options: what `model_index.json` says besides the parts.

    Raises `LoadUnsupported` when the UNet takes inputs that are not given here.
    """

    text_parts: ClassVar[tuple[str, ...]]
    pipelines: ClassVar[Collection[str]]
    """Names of diffusers' pipelines whose folders hold this family."""

    reads_clip = True

    vae_overflows: ClassVar[bool] = False
    """Whether the VAE needs float32 where the rest computes in float16."""

    def __init__(
        self,
        *,
        modules: dict[str, torch.nn.Module],
        tokenizers: Mapping[str, CLIPTokenizer],
        scheduler: Mapping[str, Any],
        options: Mapping[str, Any],
        dtype: torch.dtype,
        device: Device,
    ) -> None:
        self.device = device
        self.schedulers = SchedulerFactory(scheduler)
        self._options = options
        self._dtype = dtype
        self._tokenizers = tokenizers
        self._unet_config = modules["unet"].config
        self._vae_config = modules["vae"].config
        self._channels = int(self._vae_config["latent_channels"])
        if self._unet_config["in_channels"] not in (self._channels, 2 * self._channels + 1):
            raise LoadUnsupported(
                f"The UNet takes {self._unet_config['in_channels']} channels; it would get "
                f"{self._channels} (latents) or {2 * self._channels + 1} (latents, mask and masked picture).",
                hint="depth, upscaling and instruction models are not drawn with here",
            )
        if self._unet_config.get("time_cond_proj_dim") is not None:
            raise LoadUnsupported(
                "The UNet takes the guidance as an input of its own (a latent consistency model); "
                "such models are not drawn with yet."
            )
        if dtype == torch.float16 and self.vae_overflows and self._vae_config.get("force_upcast", False):
            modules["vae"].to(torch.float32)
        self._parts = Parts({name: module.eval() for name, module in modules.items()}, device)
        self._one_half_at_a_time = False
        self._preview_map: LinearMap | None = None

    @classmethod
    def from_folder(cls, folder: Path, *, dtype: torch.dtype, device: Device) -> Self:
        index = read_json(folder / "model_index.json")
        pipeline = index.get("_class_name")
        if pipeline not in cls.pipelines:
            raise LoadUnsupported(
                f"{folder.name} is a folder of {pipeline}, which is not of the family {cls.name}."
            )
        absent = [part for part in cls.text_parts if (index.get(part) or [None])[0] is None]
        if absent:
            raise LoadUnsupported(
                f"{folder.name} has no {absent[0]}; it is half of a model, such as a refiner."
            )
        check_folder(folder, ("unet", "vae", *cls.text_parts))
        modules = {
            "unet": _read_part(folder, "unet", {"UNet2DConditionModel": UNet2DConditionModel}, dtype),
            "vae": _read_part(folder, "vae", VAE_CLASSES, dtype),
            **{part: _read_text_encoder(folder, part, index[part][1], dtype) for part in cls.text_parts},
        }
        return cls(
            modules=modules,
            tokenizers={part: _read_tokenizer(folder, part) for part in cls.text_parts},
            scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
            options=index,
            dtype=dtype,
            device=device,
        )

    @abstractmethod
    def encode_text(
        self,
        prompt: str,
        negative_prompt: str,
        *,
        guidance_scale: float | None,
        width: int,
        height: int,
        clip_skip: int | None = None,
        embeddings: Sequence[EmbeddingUse] = (),
    ) -> Text: ...

    def spare(self, saving: SavingLevel) -> None:
        """1: guidance one half at a time, slices of attention where it is not one kernel, VAE slices;
        2: VAE in tiles; 3: only the part that works is on the device."""
        self._one_half_at_a_time = saving >= 1
        if saving >= 1:
            if not self.device.fuses_attention:
                self._parts.modules["unet"].set_attention_slice("auto")
            self._parts.modules["vae"].enable_slicing()
        if saving >= 2 and self._tiles_fit():
            self._parts.modules["vae"].enable_tiling()
        self._parts.place(only_the_working=saving >= 3)

    @property
    def weights_bytes(self) -> int:
        return self._parts.device_bytes

    @property
    def pixels_per_latent(self) -> int:
        return int(2 ** (len(self._vae_config["block_out_channels"]) - 1))

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        return (1, self._channels, height // self.pixels_per_latent, width // self.pixels_per_latent)

    @property
    def sees_masked_picture(self) -> bool:
        return bool(self._unet_config["in_channels"] != self._channels)

    def vectors(self, embeddings: Sequence[EmbeddingUse]) -> Mapping[str, clip_prompt.Vectors]:
        """Those of the textual inversions, by text encoder. Raises `DrawInvalid` when a file does not fit."""
        widths = {part: int(self._parts.modules[part].config.hidden_size) for part in self.text_parts}
        return read_embeddings(embeddings, widths)

    def pieces(
        self, part: str, texts: Sequence[str], vectors: clip_prompt.Vectors
    ) -> list[list[clip_prompt.Piece]]:
        """Each text in pieces of 75 tokens, all of them in equally many."""
        places = {word: len(own) for word, own in vectors.items()}
        found = [clip_prompt.pieces(self._tokenizers[part], text, places) for text in texts]
        return clip_prompt.evened(found, max(map(len, found)))

    def read_clip(
        self,
        part: str,
        prompts: Sequence[Sequence[clip_prompt.Piece]],
        vectors: clip_prompt.Vectors,
        *,
        layer: int | None,
        normed: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States and pooled texts in the model's precision; see `clip_prompt.encode`."""
        states, pooled = clip_prompt.encode(
            self._parts.use(part),
            self._tokenizers[part],
            prompts,
            vectors,
            layer=layer,
            normed=normed,
            device=self.device.torch,
        )
        return states.to(self._dtype), pooled.to(self._dtype)

    def posterior(self, pixels: torch.Tensor) -> Posterior:
        vae = self._parts.use("vae")
        encoded = vae.encode(pixels.to(self.device.torch, vae.dtype))
        if hasattr(encoded, "latents"):
            return Posterior(encoded.latents.float(), None)
        return Posterior(encoded.latent_dist.mean.float(), encoded.latent_dist.std.float())

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        centre, spread = self._spread(latents)
        return (latents - centre) * self._vae_config["scaling_factor"] / spread

    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: Text, inpaint: Inpaint | None
    ) -> torch.Tensor:
        given = latents.to(self._dtype)
        if inpaint is not None and inpaint.masked is not None:
            given = torch.cat([given, inpaint.mask.to(self._dtype), inpaint.masked.to(self._dtype)], dim=1)
        if text.guidance_scale is None:
            return self._ask(given, timestep, text.embeds, text.added).float()
        if self._one_half_at_a_time:
            answers = [
                self._ask(
                    given, timestep, text.embeds[i : i + 1], {k: v[i : i + 1] for k, v in text.added.items()}
                )
                for i in range(2)
            ]
            without, with_prompt = answers[0].float(), answers[1].float()
        else:
            both = self._ask(torch.cat([given, given]), timestep, text.embeds, text.added)
            without, with_prompt = both.float().chunk(2)
        return without + text.guidance_scale * (with_prompt - without)

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        vae = self._parts.use("vae")
        centre, spread = self._spread(latents)
        unscaled = latents * spread / self._vae_config["scaling_factor"] + centre
        pixels = vae.decode(unscaled.to(vae.dtype), return_dict=False)[0].float()
        if not bool(torch.isfinite(pixels).all()):
            raise NotFinite(
                f"The picture came out as numbers that are not finite (computed in {self._dtype}).",
                hint="load the model in bfloat16 or float32; if it stays so, its files are damaged",
            )
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return np.ascontiguousarray(levels[0].permute(1, 2, 0).cpu().numpy())

    def preview_map(self) -> LinearMap:
        if self._preview_map is None:
            self._preview_map = measure_map(
                lambda pixels: self.scale(self.posterior(pixels).mean), self.pixels_per_latent
            )
        return self._preview_map

    def _tiles_fit(self) -> bool:
        """AutoencoderTiny puts tiles together for eight pixels a latent, whatever its own blocks make."""
        assumed = getattr(self._parts.modules["vae"], "spatial_scale_factor", self.pixels_per_latent)
        return bool(assumed == self.pixels_per_latent)

    def _ask(
        self,
        given: torch.Tensor,
        timestep: torch.Tensor,
        embeds: torch.Tensor,
        added: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        return self._parts.use("unet")(
            given,
            timestep,
            encoder_hidden_states=embeds,
            added_cond_kwargs=dict(added) if added else None,
            return_dict=False,
        )[0]

    def _spread(self, latents: torch.Tensor) -> tuple[Any, Any]:
        """Mean and standard deviation of each channel where the VAE's files give them, else 0 and 1."""
        mean, std = self._vae_config.get("latents_mean"), self._vae_config.get("latents_std")
        if mean is None or std is None:
            return 0.0, 1.0
        shape = (1, self._channels, 1, 1)
        return latents.new_tensor(mean).view(shape), latents.new_tensor(std).view(shape)


def _read_part(folder: Path, part: str, classes: Mapping[str, Any], dtype: torch.dtype) -> torch.nn.Module:
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
    _require_complete(f"{folder.name}/{part}", report)
    require_whole(module, part)
    return module


def _read_text_encoder(folder: Path, part: str, class_name: str, dtype: torch.dtype) -> torch.nn.Module:
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
    _require_complete(f"{folder.name}/{part}", report)
    return module


def _read_tokenizer(folder: Path, part: str) -> CLIPTokenizer:
    place = folder / part.replace("text_encoder", "tokenizer")
    if not place.is_dir():
        raise LoadCorrupt(f"The model folder {folder.name} has no {place.name}.")
    return CLIPTokenizer.from_pretrained(place, local_files_only=True)


def _require_complete(part: str, report: Mapping[str, Iterable[Any]]) -> None:
    """Raises `LoadCorrupt` when weights are absent or of another shape than the configuration says."""
    missing = sorted(str(key) for key in report.get("missing_keys", ()) if "position_ids" not in str(key))
    if missing:
        raise LoadCorrupt(f"{part} lacks {len(missing)} tensors, the first of them {missing[0]!r}.")
    if report.get("mismatched_keys"):
        first = next(iter(report["mismatched_keys"]))
        raise LoadCorrupt(f"{part}: the weights do not have the shapes that its config.json gives: {first}.")
