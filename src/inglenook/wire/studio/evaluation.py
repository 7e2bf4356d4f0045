# SPDX-License-Identifier: Apache-2.0
"""Looking at a checkpoint over the wire: predictions on pictures, what it looked at, where pictures lie in
its eyes.

    server                          worker
      │ ───────── Evaluate ─────────► │
      │  ◄──────── Predicted …        │   how many pictures are done
      │  ◄──────── Evaluated / WorkFailed / WorkStopped   exactly one, last
      │ ───────── Explain ──────────► │   one picture, one class
      │  ◄──────── Explained / WorkFailed
      │ ───────── Embed ────────────► │
      │  ◄──────── Predicted …
      │  ◄──────── Embedded / WorkFailed / WorkStopped

Arrays travel as files of NumPy (`.npy`, never with pickled objects) in the folder that the server names.
"""

from typing import Literal

import msgspec

from inglenook.wire.message import Message, OutOfMemory

LOGITS = "logits.npy"
"""float32 [N, C], a row for each line of the manifest, in its order; NaN where the picture could not be
read.
"""

FEATURES = "features.npy"
"""float32 [N, D], what the network's backbone says of each picture."""

PLACES = "places.npy"
"""float32 [N, 2], in [-1, 1]: the same in two dimensions."""


class Evaluate(Message, frozen=True, kw_only=True, tag="evaluate"):
    """Predict every picture of a manifest; writes `LOGITS` into `folder`.

    Attributes:
        manifest: one `Example` a line. checkpoint: a file of the studio's own.
        batch_size: pictures at once.
    """

    job: str
    task: str
    checkpoint: str
    manifest: str
    folder: str
    batch_size: int = 32


class Explain(Message, frozen=True, kw_only=True, tag="explain"):
    """Where on one picture the network found a class: Grad-CAM of the last layer that still has places.

    Attributes:
        file: the picture. target: the class's number; None: the predicted one.
        output: a PNG that is written, of the picture's own size after EXIF's rotation, the heat over it.
    """

    job: str
    task: str
    checkpoint: str
    file: str
    target: int | None = None
    output: str


class Embed(Message, frozen=True, kw_only=True, tag="embed"):
    """Lay all pictures of a manifest out on a plane; writes `FEATURES` and `PLACES` into `folder`.

    Attributes:
        checkpoint: whose backbone looks; None takes `backbone` with what weights there are.
        method: `pca`, or `tsne` of the first 50 principal components.
    """

    job: str
    task: str
    checkpoint: str | None = None
    backbone: str = ""
    manifest: str
    folder: str
    batch_size: int = 32
    method: Literal["pca", "tsne"] = "tsne"
    seed: int = 42


class Predicted(Message, frozen=True, kw_only=True, tag="predicted"):
    job: str
    done: int
    whole: int


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that could not be looked at, by its example's `id`."""

    id: str
    reason: str


class Evaluated(Message, frozen=True, kw_only=True, tag="evaluated"):
    """`classes`: as the checkpoint names them, in the order of the columns."""

    job: str
    classes: tuple[str, ...]
    epoch: int
    seconds: float
    unreadable: tuple[Unreadable, ...] = ()
    peak_bytes: int | None = None


class Explained(Message, frozen=True, kw_only=True, tag="explained"):
    """`target`: the class that was looked for; `probabilities`: of every class."""

    job: str
    target: int
    probabilities: tuple[float, ...]
    layer: str


class Embedded(Message, frozen=True, kw_only=True, tag="embedded"):
    """`weights`: of the network that looked, for people."""

    job: str
    weights: str
    dimensions: int
    seconds: float
    unreadable: tuple[Unreadable, ...] = ()


class WorkFailed(Message, frozen=True, kw_only=True, tag="studio_failed"):
    """It failed; the worker is still alive. `code` is stable: `studio.bad_checkpoint`,
    `studio.out_of_memory`, `studio.no_weights`, `studio.no_data`, `studio.disk_full`, `studio.failed`.
    """

    job: str
    code: str
    message: str
    hint: str | None = None
    out_of_memory: OutOfMemory | None = None


class WorkStopped(Message, frozen=True, kw_only=True, tag="studio_stopped"):
    """It stopped on request, with `done` of its pictures looked at."""

    job: str
    done: int


EvaluateLastWord = Evaluated | WorkFailed | WorkStopped
ExplainLastWord = Explained | WorkFailed | WorkStopped
EmbedLastWord = Embedded | WorkFailed | WorkStopped
