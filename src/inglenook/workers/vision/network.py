# SPDX-License-Identifier: Apache-2.0
"""An ONNX file in onnxruntime: numbers in, probabilities out."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from inglenook.vision.applying import numbers
from inglenook.vision.preprocessing import Preprocessing
from inglenook.wire.vision import LoadVisionModel
from inglenook.workers.vision.errors import LoadCorrupt, LoadUnsupported, NotFinite

PROVIDERS: Final = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}
ERRORS_ONLY: Final = 3
BATCH: Final = 8
"""Pictures at a time, where the model takes any number: more make it no faster and need more memory."""


class Network:
    """Args: load: what to load, and how it takes pictures.

    Raises:
        LoadUnsupported: onnxruntime does not run here on that device.
        LoadCorrupt: it is not the model that the server has read.
        Exception: whatever onnxruntime raises for a file that it cannot run.
    """

    def __init__(self, load: LoadVisionModel) -> None:
        onnxruntime.disable_telemetry_events()
        self._load = load
        providers = PROVIDERS[load.device]
        if providers[0] not in onnxruntime.get_available_providers():
            raise LoadUnsupported(
                f"This onnxruntime ({onnxruntime.__version__}) has no {providers[0]}.",
                hint="install onnxruntime-gpu, or let it run on the CPU",
            )
        self._session = onnxruntime.InferenceSession(
            load.path, _options(load.threads), providers=list(providers)
        )
        if self._session.get_providers()[0] != providers[0]:
            raise LoadUnsupported(f"onnxruntime could not use {providers[0]} on {load.device}.")
        names = (
            [one.name for one in self._session.get_inputs()],
            [one.name for one in self._session.get_outputs()],
        )
        if names[0] != [load.input] or load.output not in names[1]:
            raise LoadCorrupt(f"The file takes {names[0]} and gives {names[1]}; it was changed meanwhile.")

    @property
    def batch(self) -> int:
        """Pictures at a time."""
        return self._load.batch or BATCH

    @property
    def preprocessing(self) -> Preprocessing:
        return self._load.preprocessing

    def scores(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Probabilities (N, classes) of pictures (H, W, C), at most `batch` of one size.

        Raises NotFinite: the network gave something that is no number.
        """
        given = self._session.run([self._load.output], {self._load.input: self._taken(pictures)})[0]
        values = np.asarray(given, np.float32).reshape(len(given), -1)[: len(pictures)]
        if not np.isfinite(values).all():
            raise NotFinite("The network gave a score that is not a finite number.")
        return values if self._load.scores == "probabilities" else softmax(values)

    def matte(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """How much of each pixel of (H, W, 3), of the input's size, is subject: float32 (H, W) in [0, 1].

        As U2-Net's authors do: the brightest level of the picture counts as 1 before it is normalised, and
        the least and the greatest number that come out are 0 and 1.

        Raises NotFinite: the network gave something that is no number.
        """
        brightest = max(int(picture.max()), 1)
        values = numbers(picture[None], self._load.preprocessing)
        normal = self._load.preprocessing.normalize
        if normal is not None:  # (x / brightest - mean) / std, out of (x / 255 - mean) / std
            shift = np.asarray(normal.mean, np.float32) / np.asarray(normal.std, np.float32)
            values = ((values + shift) * np.float32(255 / brightest) - shift).astype(np.float32)
        taken = np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)
        given = np.asarray(self._session.run([self._load.output], {self._load.input: taken})[0], np.float32)
        found = given[0, 0]
        if not np.isfinite(found).all():
            raise NotFinite("The network gave a matte that is not made of finite numbers.")
        spread = float(found.max() - found.min())
        matte: npt.NDArray[np.float32] = ((found - found.min()) / max(spread, 1e-6)).astype(np.float32)
        return matte

    def _taken(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[Any]:
        """As the network takes them; a network of a fixed batch gets the last one again where some lack."""
        stacked = np.stack([*pictures, *[pictures[-1]] * (self._load.batch - len(pictures))])
        if self._load.dtype == "uint8":
            found: npt.NDArray[Any] = stacked
        else:
            found = numbers(stacked, self._load.preprocessing).astype(self._load.dtype, copy=False)
        return found if self._load.layout == "NHWC" else np.ascontiguousarray(found.transpose(0, 3, 1, 2))


def softmax(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of each row (N, C), computed in float64; rows add up to 1."""
    shifted = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    found: npt.NDArray[np.float32] = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def _options(threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    # Threads that wait for work by spinning would hold a core each while nobody asks anything.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
