# SPDX-License-Identifier: Apache-2.0
"""A model converted for MLX: what its folder says of itself, and how a child is asked to make one.

<models>/mlx/<name>/
    inglenook-mlx.json       the manifest below
    unet.safetensors         and `vae`, `text_encoder`, `text_encoder_2`: weights, their convolutions with
                             the channels last, names as diffusers and transformers have them
    unet.json …              their configurations, scheduler.json, and what is left in model.json
    tokenizer.json           CLIP's words and merges; `tokenizer_2.json`

server                         worker
  │  ◄──────── Hello ────────────│
  │ ───────── OpenConverter ───► │
  │  ◄──────── Loaded ───────────│
  │ ───────── ConvertModel ────► │
  │  ◄──────── Converting …      │   one a part that is written
  │  ◄──────── Converted / ConvertFailed / ConvertStopped
  │ ───────── Shutdown ────────► │
"""

from typing import Annotated, Final, Literal

import msgspec

from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Message, Shutdown

MANIFEST: Final = "inglenook-mlx.json"
FORMAT: Final = "inglenook-mlx"
SCHEMA: Final = 1
"""Of the manifest and of the layout of what it lists; raised when older readers would misread it."""

FAMILIES: Final = ("sd1", "sd2", "sdxl")
"""Families that there are networks of for MLX."""

DTYPES: Final = ("float32", "float16", "bfloat16")

SCHEDULERS: Final = ("euler", "euler_a", "ddim", "pndm", "lcm", "dpm++_2m", "dpm++_2m_karras", "dpm++_2m_sde")
FLOW_SCHEDULERS: Final = ("euler", "dpm++_2m", "flow_match_euler")
"""What the MLX engine has of `wire.schedulers`, for models that predict noise and for those that predict a
flow."""

SIGMAS: Final = ("karras", "exponential", "sgm_uniform")

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]+\.(safetensors|json)$")]


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a converted model."""

    sha256: Sha256
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was converted.

    Attributes:
        model: its id in the library, or its file's name.
        path: where it lay.
        digest: the library's, over its files' headers.
        revision: of the repository that it came from, where its files tell; None where they do not.
    """

    model: str
    path: str
    digest: str
    revision: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`inglenook-mlx.json`.

    Attributes:
        family, variant: names of `wire.families`.
        dtype: of the weights, but for a VAE that overflows in half precision, which is kept in float32.
        source: what it was made of. converter: the program and its version. created: ISO 8601, UTC.
        licence, description, title: as the source's record has them.
        native_px: side of the pictures that it was trained on, where its own files tell.
        files: every file beside this one, by name.
    """

    format: Literal["inglenook-mlx"] = FORMAT
    schema: Literal[1] = SCHEMA
    family: Literal["sd1", "sd2", "sdxl"]
    variant: str = ""
    dtype: Literal["float32", "float16", "bfloat16"]
    source: Source
    converter: str
    created: str
    title: str = ""
    licence: str | None = None
    description: str = ""
    files: dict[FileName, FileFacts]


def read_manifest(data: bytes) -> Manifest:
    """Raises ValueError with what is wrong."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


class OpenConverter(Message, frozen=True, kw_only=True, tag="open_converter"):
    """Nothing is loaded; the answer is `Loaded`."""


class ConvertModel(Message, frozen=True, kw_only=True, tag="convert_model"):
    """Write a model for MLX.

    Attributes:
        job: the asker's id for it.
        path, layout, family, variant: of the source, as `LoadImageModel` has them.
        target: the folder to be, which does not exist; written beside it first, and moved when it is whole.
        dtype: of the weights.
        replace: a converted model that stands there goes, once the new one is whole.
        notes: the source's sidecar (`inglenook.json`), which goes along; None where it has none.
        source, title, licence, description: for the manifest.
    """

    job: str
    path: str
    layout: Literal["folder", "single"]
    family: str
    variant: str = ""
    target: str
    dtype: Literal["float32", "float16", "bfloat16"]
    replace: bool = False
    notes: str | None = None
    source: Source
    title: str = ""
    licence: str | None = None
    description: str = ""


class Converting(Message, frozen=True, kw_only=True, tag="converting"):
    """A part is written. `done` and `total` are bytes, as they are written."""

    job: str
    part: str
    done: int
    total: int


class Converted(Message, frozen=True, kw_only=True, tag="converted"):
    """It stands at the target."""

    job: str
    seconds: float
    size_bytes: int
    files: int


class ConvertFailed(Message, frozen=True, kw_only=True, tag="convert_failed"):
    """Nothing stands at the target.

    `code` is stable: `convert.unsupported`, `convert.corrupt`, `convert.disk_full`, `convert.exists`,
    `convert.failed`.
    """

    job: str
    code: str
    message: str


class ConvertStopped(Message, frozen=True, kw_only=True, tag="convert_stopped"):
    """It was stopped on request; nothing stands at the target."""

    job: str


ToConverter = OpenConverter | ConvertModel | Cancel | Shutdown
FromConverter = Hello | Loaded | LoadFailed | Converting | Converted | ConvertFailed | ConvertStopped
ConvertLastWord = Converted | ConvertFailed | ConvertStopped
