# SPDX-License-Identifier: Apache-2.0
"""What the server and the image worker say to each other.

    server                         worker
      │  ◄──────── Hello ────────────│   after connecting
      │ ───────── LoadImageModel ──► │
      │  ◄──────── Loaded / LoadFailed
      │ ───────── Draw ────────────► │
      │  ◄──────── Progress …        │   at every step; `preview` names a file when one was made
      │  ◄──────── PictureMade …     │   one a picture
      │  ◄──────── Notice …          │   e.g. a retry with a saving level after memory ran out
      │ ───────── Cancel ──────────► │   takes effect within one step
      │  ◄──────── Drawn / DrawFailed / DrawCancelled   exactly one, last
      │ ───────── Shutdown ────────► │

One `Draw` at a time: a second one before the last word of the first is a protocol error.
"""

from typing import Literal

import msgspec

from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Message, OutOfMemory, Shutdown

SavingLevel = int
"""How hard memory is spared: 0 not at all; 1 slicing (the two halves of the guidance one after the other,
attention where the device has no fused kernel for it, the VAE); 2 also VAE tiling; 3 also model parts kept
in host memory until needed."""

MAX_SAVING: SavingLevel = 3

Layout = Literal["folder", "single"]
Mode = Literal["text", "image", "inpaint", "edit"]
Stage = Literal["encode", "denoise", "decode"]


class LoadImageModel(Message, frozen=True, kw_only=True, tag="load_image_model"):
    """Load one model. Sent once.

    Attributes:
        path: a diffusers folder, or one `.safetensors` file.
        layout: which of the two.
        family: a name from `inglenook.wire.families`.
        variant: one of the family's; "" is the plain one.
        parts: where a single file lacks a component: `text_encoder`, `text_encoder_2`, `text_encoder_3`,
            `vae` → the file or folder that has it.
        device: a torch device: `cpu`, `cuda:0`, `mps`.
        dtype: `float32`, `float16` or `bfloat16`; "" as it is stored (stable-diffusion.cpp alone).
        saving: the saving level to begin with.
        vae_on_cpu: the VAE works in host memory in float32, whatever the saving level.
        compile: a mode of `torch.compile` for the denoising network; None does not compile.
        compile_cache: an existing folder where compiled code is kept between runs.
        threads: CPU threads for the numeric library; None leaves its default.
        spool: an existing folder, private to this child, where pictures are exchanged.
    """

    path: str
    layout: Layout
    family: str
    variant: str = ""
    parts: dict[str, str] = msgspec.field(default_factory=dict)
    device: str
    dtype: str
    saving: SavingLevel = 0
    vae_on_cpu: bool = False
    compile: str | None = None
    compile_cache: str | None = None
    threads: int | None = None
    spool: str


class LoraUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One LoRA of a Draw: a `.safetensors` file, and how strongly it counts; 0 is a value, and so is -1."""

    path: str
    weight: float


class EmbeddingUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A textual inversion: wherever `word` stands in a prompt, its vectors are read."""

    word: str
    path: str


class Hires(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw small, enlarge, draw over it: large pictures without doubled heads.

    Attributes:
        width, height: pixels of the finished picture; the Draw's own are those of the first pass.
        steps: of the second pass, as for `strength` in a full run; None takes the Draw's.
        strength: of the second pass, in (0, 1].
        upscaler: `latent` enlarges the latents (soft), `pixels` the decoded picture by Lanczos (sharp).
    """

    width: int
    height: int
    steps: int | None = None
    strength: float = 0.5
    upscaler: Literal["latent", "pixels"] = "pixels"


class Draw(Message, frozen=True, kw_only=True, tag="draw"):
    """Make `len(seeds)` pictures of one prompt.

    Attributes:
        job: the server's id for it, echoed in every answer.
        mode: `text` (from noise), `image` (from `image`), `inpaint` (from `image` where `mask` is white),
            `edit` (what the prompt says about `references`).
        prompt, negative_prompt: text; the negative one may be empty.
        width, height: pixels, multiples of what the family needs (the server has rounded them).
        steps: denoising steps of a full run, at least 1; with `strength` < 1 fewer are really taken.
        guidance_scale: classifier-free guidance w in `uncond + w * (cond - uncond)`; 1 and below draw
            without guidance, 0 is a value.
        scheduler: a name from `inglenook.wire.schedulers`; None uses the model's own.
        sigmas: a sigma schedule from the same module; None uses the scheduler's own.
        seeds: one a picture, each in [0, 2**63).
        strength: share of the noise schedule that is run on `image`, in (0, 1]; 1 ignores the picture.
        image, mask: file names in the spool folder (PNG; RGB and L), already of `width` x `height`.
        references: file names in the spool folder (PNG, RGB), of any size; for `edit`, and for `inpaint` by
            models that follow instructions.
        loras: applied in this order for this Draw alone.
        embeddings: textual inversions whose words may stand in the prompts.
        vae: another VAE for this Draw alone: a file or a folder.
        clip_skip: 1 reads the last layer of CLIP, 2 the one before; None as the family was trained.
        hires: a second, larger pass.
        preview_every: a preview at every n-th step; 0 for none.
        saving: the least saving level to draw at; a worker that is at a higher one stays there.
    """

    job: str
    mode: Mode = "text"
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    steps: int
    guidance_scale: float
    scheduler: str | None = None
    sigmas: str | None = None
    seeds: tuple[int, ...]
    strength: float | None = None
    image: str | None = None
    mask: str | None = None
    references: tuple[str, ...] = ()
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[EmbeddingUse, ...] = ()
    vae: str | None = None
    clip_skip: int | None = None
    hires: Hires | None = None
    preview_every: int = 0
    saving: SavingLevel = 0


class Progress(Message, frozen=True, kw_only=True, tag="progress"):
    """One step is done. `picture` counts from 0, `step` from 1 to `steps` (the steps really taken).

    `preview` is a file name in the spool folder (PNG, small); the server removes it.
    """

    job: str
    stage: Stage
    picture: int
    pictures: int
    step: int
    steps: int
    preview: str | None = None


class PictureMade(Message, frozen=True, kw_only=True, tag="picture_made"):
    """One picture is finished: `file` in the spool folder, PNG, RGB 8 bit, without metadata."""

    job: str
    picture: int
    seed: int
    file: str
    width: int
    height: int
    seconds: float


class Notice(Message, frozen=True, kw_only=True, tag="notice"):
    """Something a person may want to know while the job goes on."""

    job: str
    text: str


class Drawn(Message, frozen=True, kw_only=True, tag="drawn"):
    """All pictures of the job are made. `peak_bytes` as the device's allocator saw it, None on a CPU."""

    job: str
    seconds: float
    saving: SavingLevel
    peak_bytes: int | None = None


class DrawFailed(Message, frozen=True, kw_only=True, tag="draw_failed"):
    """The job failed; the worker is still alive and ready.

    `code` is stable: `draw.out_of_memory`, `draw.invalid`, `draw.not_finite`, `store.disk_full`,
    `draw.failed`.
    """

    job: str
    code: str
    message: str
    out_of_memory: OutOfMemory | None = None


class DrawCancelled(Message, frozen=True, kw_only=True, tag="draw_cancelled"):
    """The job stopped on request before `step` of `picture` was begun. Bytes as the allocator saw them."""

    job: str
    picture: int
    step: int
    before_bytes: int | None = None
    after_bytes: int | None = None


ToImageWorker = LoadImageModel | Draw | Cancel | Shutdown
FromImageWorker = (
    Hello | Loaded | LoadFailed | Progress | PictureMade | Notice | Drawn | DrawFailed | DrawCancelled
)
LastWord = Drawn | DrawFailed | DrawCancelled

__all__ = [
    "MAX_SAVING",
    "Cancel",
    "Draw",
    "DrawCancelled",
    "DrawFailed",
    "Drawn",
    "EmbeddingUse",
    "FromImageWorker",
    "Hello",
    "Hires",
    "LastWord",
    "Layout",
    "LoadFailed",
    "LoadImageModel",
    "Loaded",
    "LoraUse",
    "Mode",
    "Notice",
    "OutOfMemory",
    "PictureMade",
    "Progress",
    "SavingLevel",
    "Shutdown",
    "Stage",
    "ToImageWorker",
]
