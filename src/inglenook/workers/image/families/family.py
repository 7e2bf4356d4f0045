# SPDX-License-Identifier: Apache-2.0
"""What the denoising loop asks of a family of models, and the values that pass between them.

Latents are float32 (1, channels, height, width) on the device, whatever the model computes in: the
scheduler's arithmetic and the noise are then the same for every precision, and a seed gives the same
picture on every device.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch

from inglenook.wire.image import SavingLevel
from inglenook.workers.image.device import Device
from inglenook.workers.image.lora.shelf import LoraShelf
from inglenook.workers.image.preview import LinearMap
from inglenook.workers.image.schedulers import Scheduler, SchedulerFactory
from inglenook.workers.image.vaes import VaeShelf


@dataclass(frozen=True)
class Text:
    """A prompt as the model reads it; made once for all pictures of one Draw.

    Attributes:
        embeds: (2, tokens, width) with guidance, the negative prompt first; (1, tokens, width) without, and
            for models that are told the scale.
        added: further inputs of the model, their first axis as that of `embeds`.
        guidance_scale: w in `uncond + w * (cond - uncond)`; None draws without guidance.
        dropped_tokens: how many tokens of the longer prompt were cut off.
    """

    embeds: torch.Tensor
    guidance_scale: float | None
    dropped_tokens: int
    added: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Posterior:
    """A picture as its encoder sees it: a normal distribution over latents, or one point.

    Attributes:
        mean: float32 (1, channels, height, width), not yet scaled.
        std: the same shape, or None for an encoder that draws nothing.
    """

    mean: torch.Tensor
    std: torch.Tensor | None

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        return self.mean if self.std is None else self.mean + self.std * self.draw(generator)

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """The noise of one sample, taken from `generator` even when it is not used afterwards."""
        return torch.randn(self.mean.shape, generator=generator).to(self.mean.device)


@dataclass(frozen=True)
class Inpaint:
    """Attributes:
    mask: float32 (1, 1, height, width) of latents, 1 where to paint.
    pixels: the same in pixels.
    masked: latents of the picture with the painted part blanked, for models that are shown it; else None.
    """

    mask: torch.Tensor
    pixels: torch.Tensor
    masked: torch.Tensor | None


def as_input(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (height, width, 3) to float32 (1, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32) / 255.0).permute(2, 0, 1)[None] * 2.0 - 1.0


class Family(ABC):
    """One loaded model. Methods are called from one thread, under `torch.inference_mode`."""

    name: str
    reads_clip: bool = False
    """Whether `encode_text` takes `clip_skip` and `embeddings` too, and reads weights of words."""

    text_knows_size: bool = True
    """Whether what `encode_text` gives depends on the picture's size."""

    schedulers: SchedulerFactory
    device: Device
    loras: LoraShelf
    vaes: VaeShelf

    @classmethod
    @abstractmethod
    def from_folder(cls, folder: Path, *, variant: str, dtype: torch.dtype, device: Device) -> Self:
        """Read a diffusers folder into host memory. Raises `LoadCorrupt`, `LoadUnsupported`."""

    @classmethod
    @abstractmethod
    def from_single(
        cls, path: Path, *, parts: Mapping[str, Path], variant: str, dtype: torch.dtype, device: Device
    ) -> Self:
        """Read one `.safetensors` file into host memory. Raises `LoadCorrupt`, `LoadUnsupported`.

        Args:
            parts: components that the file lacks, by name (`vae`, `text_encoder_2`, `tokenizer_2`): a file,
                or a folder of diffusers that holds this component.
        """

    @abstractmethod
    def spare(self, saving: SavingLevel) -> None:
        """Place the model on its device, at a saving level. Called once after loading, and again with
        higher levels."""

    @abstractmethod
    def keep_vae_on_host(self) -> None:
        """Encode and decode in host memory in float32, at every saving level. Called before `spare`."""

    @abstractmethod
    def compile(self, mode: str, cache: Path | None) -> None:
        """Compile the denoising network at its next use; see `compiling.Compiled`."""

    @abstractmethod
    def trouble(self) -> str | None:
        """What a person should know about how the model works now, told once; None for nothing."""

    @property
    @abstractmethod
    def weights_bytes(self) -> int:
        """Bytes of weights that are on the device at once, at the present saving level."""

    @property
    @abstractmethod
    def pixels_per_latent(self) -> int:
        """Side in pixels of the square that one latent stands for."""

    @property
    def multiple_px(self) -> int:
        """Width and height must be multiples of this many pixels."""
        return self.pixels_per_latent

    @property
    def embeds_guidance(self) -> bool:
        """True for models that are told the guidance scale and asked once: then every scale is a value."""
        return False

    @property
    def samples_picture_first(self) -> bool:
        """True for models whose inpainting samples the encoded picture also where nothing of it stays, so
        that its random numbers come before the noise."""
        return False

    @property
    def spreads_steps(self) -> bool:
        """True for models that were distilled to few steps and take all of them on a given picture, between
        nearer noise levels; others take the share of a full run that `strength` says."""
        return False

    @property
    def max_references(self) -> int:
        """How many pictures an instruction may be about; 0 for a model that follows none."""
        return 0

    @abstractmethod
    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]: ...

    @property
    @abstractmethod
    def sees_masked_picture(self) -> bool:
        """True for inpainting models, which are shown the mask and the rest of the picture at every step;
        for all others the loop puts the rest back after each step."""

    @abstractmethod
    def encode_text(
        self, prompt: str, negative_prompt: str, *, guidance_scale: float | None, width: int, height: int
    ) -> Text: ...

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
        """As `encode_text`, for a prompt that says what to do with pictures.

        Called only where `max_references` is not 0.

        Args:
            references: uint8 (height, width, 3), one or more, of any size.
        """
        raise NotImplementedError(f"{self.name} follows no instructions")

    def set_timesteps(self, scheduler: Scheduler, steps: int, *, width: int, height: int) -> None:
        """Lay out a full run of `steps`; some models take other noise levels for large pictures."""
        del width, height
        scheduler.set_timesteps(steps, device=self.device.torch)

    @abstractmethod
    def posterior(self, pixels: torch.Tensor) -> Posterior:
        """Encode float32 (1, 3, height, width) in [-1, 1]."""

    @abstractmethod
    def scale(self, latents: torch.Tensor) -> torch.Tensor:
        """From the encoder's latents to those that the model was trained on."""

    @abstractmethod
    def predict(
        self, latents: torch.Tensor, timestep: torch.Tensor, text: Text, inpaint: Inpaint | None
    ) -> torch.Tensor:
        """One question to the model, guidance applied: float32, the shape of `latents`, which the
        scheduler has scaled for it already."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """uint8 (height, width, 3). Raises `NotFinite` when the result is not a picture."""

    @abstractmethod
    def preview_map(self) -> LinearMap:
        """Latents to rough colours without a decoder; see `preview.py`."""
