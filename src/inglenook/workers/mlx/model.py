# SPDX-License-Identifier: Apache-2.0
"""One converted model in memory: texts, questions to the network, pictures to latents and back.

What goes in and comes out are NumPy arrays as torch lays them out, float32 (1, channels, height, width).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from inglenook.wire.image import LoadImageModel, SavingLevel
from inglenook.wire.mlx import FAMILIES
from inglenook.workers.image.errors import LoadCorrupt, LoadUnsupported, NotFinite
from inglenook.workers.image.families import clip_pieces
from inglenook.workers.mlx import prompt as prompts
from inglenook.workers.mlx.files import AGAIN, Converted
from inglenook.workers.mlx.lora.shelf import LoraShelf
from inglenook.workers.mlx.noise import Noise
from inglenook.workers.mlx.preview import LinearMap, measure_map
from inglenook.workers.mlx.schedulers.factory import Schedulers
from inglenook.workers.mlx.tiles import tiled_decode, tiled_encode
from inglenook.workers.mlx.tokenizer import ClipTokenizer

DTYPES: Mapping[str, mx.Dtype] = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
DEVICES = {"mps": mx.gpu, "cpu": mx.cpu}
"""MLX's devices by the words of the wire: Apple's GPU, and the processor."""


@dataclass(frozen=True)
class Text:
    """A prompt as the model reads it.

    Attributes:
        embeds: (2, tokens, width) with guidance, the negative prompt first; (1, tokens, width) without.
        guidance_scale: w in `uncond + w * (cond - uncond)`; None draws without guidance.
        added: further inputs of the network, their first axis as that of `embeds`.
    """

    embeds: mx.array
    guidance_scale: float | None
    added: Mapping[str, mx.array] = field(default_factory=dict)


@dataclass(frozen=True)
class Posterior:
    """A picture as its encoder sees it: float32 (1, channels, height, width), not yet scaled.

    Attributes:
        std: None for an encoder that draws nothing.
    """

    mean: np.ndarray
    std: np.ndarray | None

    def sample(self, noise: Noise) -> np.ndarray:
        return self.mean if self.std is None else self.mean + self.std * noise.normal(self.mean.shape)


@dataclass(frozen=True)
class Inpaint:
    """Attributes:
    mask: float32 (1, 1, height, width) of latents, 1 where to paint.
    masked: latents of the picture with the painted part blanked, for models that are shown it; else None.
    """

    mask: np.ndarray
    masked: np.ndarray | None


class Model:
    """Raises `LoadCorrupt`, `LoadUnsupported`, or what the allocator raises."""

    reads_clip = True
    max_references = 0

    def __init__(self, request: LoadImageModel) -> None:
        if request.family not in FAMILIES:
            raise LoadUnsupported(
                f"The MLX engine has no family {request.family!r}; it knows {', '.join(FAMILIES)}."
            )
        if request.dtype not in DTYPES:
            raise LoadUnsupported(f"{request.dtype!r} is not a precision; there are {', '.join(DTYPES)}.")
        files = Converted(Path(request.path))
        if files.manifest.family != request.family:
            raise LoadCorrupt(
                f"{files.folder.name} is of the family {files.manifest.family}, not {request.family}.",
                hint=AGAIN,
            )
        self.name, self.variant = request.family, request.variant
        self._dtype = DTYPES[request.dtype]
        self._text_parts = (
            ("text_encoder", "text_encoder_2") if request.family == "sdxl" else ("text_encoder",)
        )
        self._read(files)
        self._saving: SavingLevel = request.saving
        self._preview_map: LinearMap | None = None

    def _read(self, files: Converted) -> None:
        self._vae_config = files.read_json("vae")
        self._unet_config = files.read_json("unet")
        self._options = files.read_json("model")
        self.schedulers = Schedulers(files.read_json("scheduler"))
        overflows = bool(self._vae_config.get("force_upcast")) and self._dtype == mx.float16
        self._vae_dtype = mx.float32 if overflows else self._dtype
        self.parts = {part: files.network(part, self._dtype) for part in ("unet", *self._text_parts)}
        self.parts["vae"] = files.network("vae", self._vae_dtype)
        self._tokenizers = {part: _tokenizer(files, part) for part in self._text_parts}
        self.loras = LoraShelf(self.parts, self.name)
        takes, own = int(self._unet_config["in_channels"]), self._channels
        if takes not in (own, 2 * own + 1):
            raise LoadUnsupported(f"The UNet takes {takes} channels; it would get {own} or {2 * own + 1}.")

    # -- what is asked about it -------------------------------------------------------------------

    @property
    def weights_bytes(self) -> int:
        from mlx.utils import tree_flatten

        return sum(
            int(array.nbytes) for part in self.parts.values() for _, array in tree_flatten(part.parameters())
        )

    @property
    def _channels(self) -> int:
        return int(self._vae_config["latent_channels"])

    @property
    def pixels_per_latent(self) -> int:
        widths = self._vae_config.get("block_out_channels") or self._vae_config["encoder_block_out_channels"]
        return int(2 ** (len(widths) - 1))

    @property
    def multiple_px(self) -> int:
        return self.pixels_per_latent

    @property
    def embeds_guidance(self) -> bool:
        """True for latent consistency models, into which the guidance was distilled."""
        return self._unet_config.get("time_cond_proj_dim") is not None

    @property
    def spreads_steps(self) -> bool:
        return self.embeds_guidance

    @property
    def sees_masked_picture(self) -> bool:
        return bool(self._unet_config["in_channels"] != self._channels)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        return (1, self._channels, height // self.pixels_per_latent, width // self.pixels_per_latent)

    def spare(self, saving: SavingLevel) -> None:
        """1 and more: guidance one half at a time; 2 and more: the VAE in tiles. Memory is one on Apple
        silicon, so nothing is gained by keeping parts elsewhere: 3 does what 2 does."""
        self._saving = saving

    # -- texts ------------------------------------------------------------------------------------

    def encode_text(
        self,
        prompt: str,
        negative_prompt: str,
        *,
        guidance_scale: float | None,
        width: int,
        height: int,
        clip_skip: int | None,
    ) -> Text:
        """Raises `DrawInvalid` where the text encoder has fewer layers than `clip_skip` asks for."""
        twice = guidance_scale is not None and not self.embeds_guidance
        texts = [negative_prompt, prompt] if twice else [prompt]
        laid_out = self._pieces(texts)
        if self.name != "sdxl":
            embeds, _ = self._encode("text_encoder", laid_out["text_encoder"], clip_skip, normed=True)
            mx.eval(embeds)
            return Text(embeds, guidance_scale)
        layer = 2 if clip_skip is None else clip_skip
        read = [self._encode(part, laid_out[part], layer, normed=False) for part in self._text_parts]
        embeds, pooled = mx.concatenate([states for states, _ in read], axis=-1), read[-1][1]
        if twice and not negative_prompt and self._options.get("force_zeros_for_empty_prompt", True):
            blank = mx.array([0.0, 1.0], dtype=self._dtype)
            embeds, pooled = embeds * blank[:, None, None], pooled * blank[:, None]
        sizes = mx.array([[height, width, 0, 0, height, width]] * len(texts), dtype=mx.float32)
        mx.eval(embeds, pooled)
        return Text(embeds, guidance_scale, {"pooled": pooled, "sizes": sizes})

    def _pieces(self, texts: list[str]) -> dict[str, list[list[clip_pieces.Piece]]]:
        """Each text in pieces of 75 tokens, all of them in equally many, by text encoder."""
        found = {
            part: [clip_pieces.pieces(self._tokenizers[part], text, {}) for text in texts]
            for part in self._text_parts
        }
        longest = max(len(own) for each in found.values() for own in each)
        return {part: clip_pieces.evened(each, longest) for part, each in found.items()}

    def _encode(
        self, part: str, pieces: list[list[clip_pieces.Piece]], layer: int | None, *, normed: bool
    ) -> tuple[mx.array, mx.array]:
        states, pooled = prompts.encode(
            self.parts[part], self._tokenizers[part], pieces, layer=layer, normed=normed
        )
        return states.astype(self._dtype), pooled.astype(self._dtype)

    # -- questions --------------------------------------------------------------------------------

    def predict(
        self, latents: np.ndarray, timestep: float, text: Text, inpaint: Inpaint | None
    ) -> np.ndarray:
        """One question to the network, guidance applied; float32, the shape of `latents`, which the scheduler
        has scaled for it already."""
        given = latents
        if inpaint is not None and inpaint.masked is not None:
            given = np.concatenate([latents, inpaint.mask, inpaint.masked], axis=1)
        x = _last(given, self._dtype)
        told = self._told_guidance(text.guidance_scale)
        if len(text.embeds) == 1 or text.guidance_scale is None:
            return _first(self._ask(x, timestep, text.embeds, text.added, told))
        if self._saving >= 1:
            halves = [self._half(x, timestep, text, number) for number in range(2)]
        else:
            both = self._ask(mx.concatenate([x, x]), timestep, text.embeds, text.added, told)
            halves = [_first(both[:1]), _first(both[1:])]
        without, with_prompt = halves
        return without + np.float32(text.guidance_scale) * (with_prompt - without)

    def _half(self, x: mx.array, timestep: float, text: Text, number: int) -> np.ndarray:
        of = slice(number, number + 1)
        return _first(
            self._ask(x, timestep, text.embeds[of], {k: v[of] for k, v in text.added.items()}, None)
        )

    def _ask(
        self,
        x: mx.array,
        timestep: float,
        embeds: mx.array,
        added: Mapping[str, mx.array],
        told: mx.array | None,
    ) -> mx.array:
        times = mx.full((len(embeds),), timestep, dtype=mx.float32)
        return self.parts["unet"](x, times, embeds, told=told, **added).astype(mx.float32)

    def _told_guidance(self, guidance_scale: float | None) -> mx.array | None:
        """The scale as a latent consistency model reads it: (1, width) of sines, then cosines. These count
        from 0 for no guidance."""
        if not self.embeds_guidance or guidance_scale is None:
            return None
        half = int(self._unet_config["time_cond_proj_dim"]) // 2
        falling = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10_000.0) / (half - 1)))
        angles = np.float32((guidance_scale - 1) * 1000.0) * falling[None]
        return mx.array(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).astype(self._dtype)

    # -- pictures ---------------------------------------------------------------------------------

    def posterior(self, pixels: np.ndarray) -> Posterior:
        """Encode float32 (1, 3, height, width) in [-1, 1]."""
        given, vae = _last(pixels, self._vae_dtype), self.parts["vae"]
        mean, std = (
            tiled_encode(vae, given, self.pixels_per_latent) if self._saving >= 2 else vae.encode(given)
        )
        return Posterior(_first(mean), None if std is None else _first(std))

    def scale(self, latents: np.ndarray) -> np.ndarray:
        centre, spread = self._spread()
        return (latents - centre) * np.float32(self._vae_config.get("scaling_factor", 1.0)) / spread

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3). Raises `NotFinite` when the result is not a picture."""
        centre, spread = self._spread()
        unscaled = latents * spread / np.float32(self._vae_config.get("scaling_factor", 1.0)) + centre
        given, vae = _last(unscaled, self._vae_dtype), self.parts["vae"]
        made = tiled_decode(vae, given, self.pixels_per_latent) if self._saving >= 2 else vae.decode(given)
        pixels = np.array(made[0].astype(mx.float32))
        if not np.isfinite(pixels).all():
            raise NotFinite(
                f"The picture came out as numbers that are not finite (computed in {self._dtype}).",
                hint="convert the model with --dtype bfloat16 or float32; if it stays so, it is damaged",
            )
        return np.ascontiguousarray((np.clip(pixels / 2 + 0.5, 0, 1) * 255).round().astype(np.uint8))

    def preview_map(self) -> LinearMap:
        if self._preview_map is None:
            self._preview_map = measure_map(
                lambda pixels: self.scale(self.posterior(pixels).mean), self.pixels_per_latent
            )
        return self._preview_map

    def _spread(self) -> tuple[Any, Any]:
        """Mean and standard deviation of each channel where the VAE's files give them, else one mean for all
        and 1."""
        mean, std = self._vae_config.get("latents_mean"), self._vae_config.get("latents_std")
        if mean is None or std is None:
            return np.float32(self._vae_config.get("shift_factor") or 0.0), np.float32(1.0)
        shape = (1, self._channels, 1, 1)
        return np.array(mean, np.float32).reshape(shape), np.array(std, np.float32).reshape(shape)


def _last(x: np.ndarray, dtype: mx.Dtype) -> mx.array:
    """Channels go last."""
    return mx.array(np.ascontiguousarray(x.transpose(0, 2, 3, 1), dtype=np.float32)).astype(dtype)


def _first(x: mx.array) -> np.ndarray:
    """Channels go first; waits until the numbers are there."""
    return np.array(x.astype(mx.float32)).transpose(0, 3, 1, 2)


def _tokenizer(files: Converted, part: str) -> ClipTokenizer:
    name = part.replace("text_encoder", "tokenizer")
    try:
        return ClipTokenizer(files.read_json(name))
    except (ValueError, KeyError, TypeError) as error:
        raise LoadCorrupt(f"{files.folder.name}/{name}.json is no tokenizer: {error}.", hint=AGAIN) from error
