# SPDX-License-Identifier: Apache-2.0
"""What the server and the vision worker say to each other.

    server                         worker
      │  ◄──────── Hello ────────────│   after connecting
      │ ──────── LoadVisionModel ──► │
      │  ◄──────── Loaded / LoadFailed
      │ ────────── Predict ────────► │   or Matte
      │ ────────── Cancel ─────────► │   takes effect before the next batch
      │  ◄──────── Predicted / Matted / PredictFailed / PredictCancelled   exactly one
      │ ───────── Shutdown ────────► │

One `Predict` at a time: a second one before the last word of the first is a protocol error.
"""

from typing import Annotated, Final, Literal

import msgspec

from inglenook.vision.preprocessing import Preprocessing
from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Message, OutOfMemory, Shutdown

MAX_PICTURES: Final = 64
MAX_TOP: Final = 1000
"""Most scores of one picture that travel."""


class LoadVisionModel(Message, frozen=True, kw_only=True, tag="load_vision_model"):
    """Load one model. Sent once.

    Attributes:
        path: an ONNX file.
        device: `cpu` or `cuda`; the child sees only its own.
        threads: CPU threads; None leaves it to the library.
        spool: an existing folder, private to this child, where pictures are put.
        input, output, layout, dtype, batch, scores, preprocessing: as `catalog.model.VisionFacts`.
        max_pixels: of a picture; a larger one is refused before it is decoded.
    """

    path: str
    device: Literal["cpu", "cuda"]
    threads: int | None = None
    spool: str
    input: str
    output: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "float16", "uint8"]
    batch: int
    scores: Literal["logits", "probabilities"]
    preprocessing: Preprocessing
    max_pixels: int


class Predict(Message, frozen=True, kw_only=True, tag="predict"):
    """Look at pictures. `files`: names in the spool folder. `top`: so many scores of each, the highest."""

    job: str
    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_PICTURES)]
    top: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOP)]


class Seen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One picture: its size in pixels (upright), and the highest scores with the numbers of their classes."""

    width: int
    height: int
    classes: tuple[int, ...]
    scores: tuple[float, ...]


class Predicted(Message, frozen=True, kw_only=True, tag="predicted"):
    """Attributes:
    pictures: in the order of the files.
    seconds: the work took; computing_s of it in the network.
    """

    job: str
    pictures: tuple[Seen, ...]
    seconds: float
    computing_s: float


class Matte(Message, frozen=True, kw_only=True, tag="matte"):
    """Tell the subject of a picture from its background. `file`: its name in the spool folder. Only for a
    model whose output is a matte."""

    job: str
    file: str


class Matted(Message, frozen=True, kw_only=True, tag="matted"):
    """Attributes:
    file: a grey PNG in the spool folder, of the picture's size (upright); 255 is the subject.
    seconds: the work took; computing_s of it in the network.
    """

    job: str
    file: str
    width: int
    height: int
    seconds: float
    computing_s: float


class PredictFailed(Message, frozen=True, kw_only=True, tag="predict_failed"):
    """It failed; the worker is still alive and ready.

    `code` is stable: `picture.unreadable`, `picture.too_large`, `picture.too_long` (the fault of `picture`,
    counted from 0), `predict.not_finite`, `predict.out_of_memory`, `predict.failed`.
    """

    job: str
    code: str
    message: str
    hint: str | None = None
    picture: int | None = None
    out_of_memory: OutOfMemory | None = None


class PredictCancelled(Message, frozen=True, kw_only=True, tag="predict_cancelled"):
    """It stopped on request."""

    job: str


ToVisionWorker = LoadVisionModel | Predict | Matte | Cancel | Shutdown
PredictLastWord = Predicted | Matted | PredictFailed | PredictCancelled
FromVisionWorker = Hello | Loaded | LoadFailed | Predicted | Matted | PredictFailed | PredictCancelled
