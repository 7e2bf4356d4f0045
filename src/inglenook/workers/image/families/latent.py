# SPDX-License-Identifier: Apache-2.0
"""What the families have in common whose model works on the latents of a VAE, led by text encoders."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from inglenook.wire.image import SavingLevel
from inglenook.workers.image.compiling import Compiled
from inglenook.workers.image.device import Device
from inglenook.workers.image.errors import LoadUnsupported, NotFinite
from inglenook.workers.image.families import folder as parts_of
from inglenook.workers.image.families import vae_files
from inglenook.workers.image.families.family import Family, Posterior, Text
from inglenook.workers.image.lora.shelf import LoraShelf
from inglenook.workers.image.parts import Parts
from inglenook.workers.image.preview import LinearMap, measure_map
from inglenook.workers.image.schedulers import SchedulerFactory
from inglenook.workers.image.vaes import VaeShelf
from inglenook.workers.image.weights import check_folder, read_json

Ask = Callable[[torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
"""One question to the network: `embeds` and `added` of a `Text`, or one half of each → its answer."""


class LatentModel(Family):
    """Args:
    modules: the network under the name in `network`, `vae`, and the text encoders under the names in
        `text_parts`, those that there are; in host memory.
    tokenizers: one for each text encoder, under the same names.
    scheduler: the model's own scheduler configuration.
    options: what `model_index.json` says besides the parts.
    variant: what the weights were trained for, a name from `wire/families.py`.
    """

    network: ClassVar[str]
    """Name of the part that denoises: `unet` or `transformer`."""

    network_classes: ClassVar[Mapping[str, Any]]
    text_parts: ClassVar[tuple[str, ...]]
    optional_text_parts: ClassVar[frozenset[str]] = frozenset()
    """Text encoders that the model can do without."""

    vae_classes: ClassVar[Mapping[str, Any]] = parts_of.VAE_CLASSES
    pipelines: ClassVar[Collection[str]]
    """Names of diffusers' pipelines whose folders hold this family."""

    vae_overflows: ClassVar[bool] = False
    """Whether the VAE needs float32 where the rest computes in float16."""

    def __init__(
        self,
        *,
        modules: dict[str, torch.nn.Module],
        tokenizers: Mapping[str, Any],
        scheduler: Mapping[str, Any],
        options: Mapping[str, Any],
        variant: str,
        dtype: torch.dtype,
        device: Device,
    ) -> None:
        self.device = device
        self.variant = variant
        self.schedulers = SchedulerFactory(scheduler)
        self._options = options
        self._dtype = dtype
        self._tokenizers = tokenizers
        self._network_config = modules[self.network].config
        self._parts = Parts({name: module.eval() for name, module in modules.items()}, device)
        self._channels = self._latent_channels()
        self._vae_on_host = False
        self._in_its_precision(modules["vae"])
        self.loras = LoraShelf(self._parts.modules, self.name)
        self.vaes = VaeShelf(
            modules["vae"], latents=self._latents_of, read=self._read_vae, put=self._exchange_vae
        )
        self._saving: SavingLevel = 0
        self._compiled: Compiled | None = None
        self._preview_map: LinearMap | None = None

    @classmethod
    def from_folder(cls, folder: Path, *, variant: str, dtype: torch.dtype, device: Device) -> Self:
        index = parts_of.read_index(folder, cls.pipelines, cls.name)
        texts = [part for part in cls.text_parts if parts_of.has_part(index, part)]
        absent = set(cls.text_parts) - set(texts) - cls.optional_text_parts
        if absent:
            raise LoadUnsupported(
                f"{folder.name} has no {min(absent)}; it is half of a model, such as a refiner."
            )
        check_folder(folder, (cls.network, "vae", *texts))
        modules = {
            cls.network: parts_of.read_part(folder, cls.network, cls.network_classes, dtype),
            "vae": parts_of.read_part(folder, "vae", cls.vae_classes, dtype),
            **{part: parts_of.read_text_encoder(folder, part, index[part][1], dtype) for part in texts},
        }
        return cls(
            modules=modules,
            tokenizers={part: parts_of.read_tokenizer(folder, part, index[part][1]) for part in texts},
            scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
            options=index,
            variant=variant,
            dtype=dtype,
            device=device,
        )

    def spare(self, saving: SavingLevel) -> None:
        """1: guidance one half at a time, VAE slices; 2: VAE in tiles; 3: only the part that works is on the
        device."""
        self._saving = saving
        self._spare_vae()
        self._parts.place(only_the_working=saving >= 3)

    def compile(self, mode: str, cache: Path | None) -> None:
        self._compiled = Compiled(self._parts.modules[self.network], mode, cache, self.device)

    def trouble(self) -> str | None:
        return None if self._compiled is None else self._compiled.trouble()

    def keep_vae_on_host(self) -> None:
        self._vae_on_host = True
        self._parts.keep_at_home("vae")
        self._in_its_precision(self._parts.modules["vae"])

    @property
    def weights_bytes(self) -> int:
        return self._parts.device_bytes

    @property
    def pixels_per_latent(self) -> int:
        return _pixels_per_latent(self._vae_config)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        return (1, self._channels, height // self.pixels_per_latent, width // self.pixels_per_latent)

    def tokens(self, part: str, text: str, length: int | None = None) -> tuple[torch.Tensor, int]:
        """Token ids (1, length) on the device, padded and cut; how many were cut.

        Args:
            length: None for the tokenizer's own.
        """
        tokenizer = self._tokenizers[part]
        ids = tokenizer(
            text,
            padding="max_length",
            max_length=tokenizer.model_max_length if length is None else length,
            truncation=True,
            return_tensors="pt",
            verbose=False,
        ).input_ids
        whole = len(tokenizer(text, verbose=False).input_ids)
        return ids.to(self.device.torch), max(0, whole - ids.shape[1])

    def posterior(self, pixels: torch.Tensor) -> Posterior:
        vae = self._parts.use("vae")
        encoded = vae.encode(pixels.to(vae.device, vae.dtype))
        there = {"device": self.device.torch, "dtype": torch.float32}
        if hasattr(encoded, "latents"):
            return Posterior(encoded.latents.to(**there), None)
        return Posterior(encoded.latent_dist.mean.to(**there), encoded.latent_dist.std.to(**there))

    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        centre, spread = self._spread(latents)
        return (latents - centre) * self._vae_config.get("scaling_factor", 1.0) / spread

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        vae = self._parts.use("vae")
        centre, spread = self._spread(latents)
        unscaled = latents * spread / self._vae_config.get("scaling_factor", 1.0) + centre
        pixels = vae.decode(unscaled.to(vae.device, vae.dtype), return_dict=False)[0].float()
        if not bool(torch.isfinite(pixels).all()):
            raise NotFinite(
                f"The picture came out as numbers that are not finite (computed in {self._dtype}).",
                hint="load the model in bfloat16 or float32; if it stays so, its files are damaged",
            )
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return np.ascontiguousarray(levels[0].permute(1, 2, 0).cpu().numpy())

    def preview_map(self) -> LinearMap:
        if self._preview_map is None:
            weights, offset = measure_map(
                lambda pixels: self.scale(self.posterior(pixels).mean), self.pixels_per_latent
            )
            self._preview_map = weights.to(self.device.torch), offset.to(self.device.torch)
        return self._preview_map

    def guided(self, text: Text, ask: Ask) -> torch.Tensor:
        """The network's answer, guidance applied: float32 (1, …).

        Asked twice about the same latents where the text says so: both halves at once, or one after the
        other when memory is spared.
        """
        if len(text.embeds) == 1 or text.guidance_scale is None:
            return ask(text.embeds, text.added).float()
        if self._saving >= 1:
            answers = [
                ask(text.embeds[i : i + 1], {k: v[i : i + 1] for k, v in text.added.items()})
                for i in range(2)
            ]
            without, with_prompt = answers[0].float(), answers[1].float()
        else:
            without, with_prompt = ask(text.embeds, text.added).float().chunk(2)
        return without + text.guidance_scale * (with_prompt - without)

    @property
    def _vae_config(self) -> Any:
        """Of the VAE that works at the moment."""
        return self._parts.modules["vae"].config

    def _exchange_vae(self, vae: torch.nn.Module) -> None:
        self._in_its_precision(vae)
        self._parts.exchange("vae", vae)
        self._preview_map = None
        self._spare_vae()

    def _read_vae(self, place: Path) -> torch.nn.Module:
        """Another VAE of this family. Raises `LoadCorrupt`, `LoadUnsupported`."""
        return vae_files.read(place, self.name, self._dtype)

    def _latents_of(self, vae: Any) -> tuple[int, int]:
        """Channels and side in pixels of the latents of a VAE."""
        return int(vae.config["latent_channels"]), _pixels_per_latent(vae.config)

    def _in_its_precision(self, vae: Any) -> None:
        overflows = self.vae_overflows and self._dtype == torch.float16
        if self._vae_on_host or (overflows and vae.config.get("force_upcast", False)):
            vae.to(torch.float32)

    def _spare_vae(self) -> None:
        vae = self._parts.modules["vae"]
        if self._saving >= 1:
            vae.enable_slicing()
        if self._saving >= 2 and self._tiles_fit():
            vae.enable_tiling()

    def _latent_channels(self) -> int:
        return int(self._vae_config["latent_channels"])

    def _tiles_fit(self) -> bool:
        """AutoencoderTiny puts tiles together for eight pixels a latent, whatever its own blocks make."""
        assumed = getattr(self._parts.modules["vae"], "spatial_scale_factor", self.pixels_per_latent)
        return bool(assumed == self.pixels_per_latent)

    def _spread(self, latents: torch.Tensor) -> tuple[Any, Any]:
        """Mean and standard deviation of each channel where the VAE's files give them, else one mean for all
        and 1."""
        mean, std = self._vae_config.get("latents_mean"), self._vae_config.get("latents_std")
        if mean is None or std is None:
            return self._vae_config.get("shift_factor") or 0.0, 1.0
        shape = (1, self._channels, 1, 1)
        return latents.new_tensor(mean).view(shape), latents.new_tensor(std).view(shape)


def _pixels_per_latent(vae_config: Any) -> int:
    """Every level of a VAE but the last halves the side. The tiny autoencoder names its levels twice."""
    widths = vae_config.get("block_out_channels") or vae_config["encoder_block_out_channels"]
    return int(2 ** (len(widths) - 1))
