# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: load one model, then one Predict after another until told to end."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.message import Message, OutOfMemory
from inglenook.wire.vision import (
    LoadVisionModel,
    Matte,
    Matted,
    Predict,
    PredictCancelled,
    Predicted,
    PredictFailed,
    Seen,
)
from inglenook.workers.inbox import Inbox
from inglenook.workers.serving import ModelWorker, Sender
from inglenook.workers.telling import in_words, log_failure
from inglenook.workers.vision.errors import BadPicture, Stopped, evidence_of
from inglenook.workers.vision.network import Network
from inglenook.workers.vision.pictures import read, save_matte

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


class Worker(ModelWorker[LoadVisionModel, Predict | Matte, Network]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model onto a device.
    """

    opens = LoadVisionModel

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox[LoadVisionModel, Predict | Matte],
        load: Callable[[LoadVisionModel], Network],
        clock: Clock,
    ) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._load = load

    def read(self, request: LoadVisionModel) -> tuple[Network, int]:
        return self._load(request), Path(request.path).stat().st_size

    def ready(self, model: Network, request: LoadVisionModel) -> None:
        self._network, self._request = model, request

    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:  # noqa: ARG002 - there is one
        return evidence_of(error)

    def do(self, work: Predict | Matte) -> Message:
        network, load = self._network, self._request
        try:
            if isinstance(work, Matte):
                return self._matte(network, load, work)
            return self._predict(network, load, work)
        except Stopped:
            return PredictCancelled(job=work.job)
        except BadPicture as error:
            return PredictFailed(
                job=work.job, code=error.code, message=error.message, hint=error.hint, picture=error.place
            )
        except InglenookError as error:
            return PredictFailed(job=work.job, code=error.code, message=error.message, hint=error.hint)
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            return _failure(work.job, error)

    def _predict(self, network: Network, load: LoadVisionModel, work: Predict) -> Predicted:
        began = self._clock.monotonic()
        pictures, computing_s = self._look(network, load, work)
        seconds = self._clock.monotonic() - began
        return Predicted(job=work.job, pictures=pictures, seconds=seconds, computing_s=computing_s)

    def _matte(self, network: Network, load: LoadVisionModel, work: Matte) -> Matted:
        began = self._clock.monotonic()
        taken, (width, height) = read(
            _in_spool(load, work.file, 0), 0, network.preprocessing, max_pixels=load.max_pixels
        )
        if self._inbox.should_stop():
            raise Stopped("Stopped before the network.")
        computing = self._clock.monotonic()
        small = network.matte(taken)
        computing_s = self._clock.monotonic() - computing
        name = f"{work.file}.matte"
        save_matte(small, (width, height), Path(load.spool) / name)
        seconds = self._clock.monotonic() - began
        return Matted(
            job=work.job, file=name, width=width, height=height, seconds=seconds, computing_s=computing_s
        )

    def _look(self, network: Network, load: LoadVisionModel, work: Predict) -> tuple[tuple[Seen, ...], float]:
        found: list[Seen] = []
        computing_s = 0.0
        for group in self._groups(network, load, work):
            if self._inbox.should_stop():
                raise Stopped("Stopped before the next batch.")
            began = self._clock.monotonic()
            scores = network.scores([taken for taken, _ in group])
            computing_s += self._clock.monotonic() - began
            found += [_seen(row, size, work.top) for row, (_, size) in zip(scores, group, strict=True)]
        return tuple(found), computing_s

    def _groups(
        self, network: Network, load: LoadVisionModel, work: Predict
    ) -> Iterator[list[tuple[Pixels, tuple[int, int]]]]:
        """Pictures of one size, as many as the network takes at a time, in order."""
        group: list[tuple[Pixels, tuple[int, int]]] = []
        for place, name in enumerate(work.files):
            one = read(_in_spool(load, name, place), place, network.preprocessing, max_pixels=load.max_pixels)
            if group and (len(group) == network.batch or one[0].shape != group[0][0].shape):
                yield group
                group = []
            group.append(one)
        yield group


def _in_spool(load: LoadVisionModel, name: str, place: int) -> Path:
    if name != Path(name).name or name in {"", ".", ".."}:
        raise BadPicture(f"{name!r} is not the name of a file in the spool folder.", place=place)
    return Path(load.spool) / name


def _seen(scores: npt.NDArray[np.float32], size: tuple[int, int], top: int) -> Seen:
    """The highest scores; of equal ones the lower number first."""
    order = np.argsort(-scores, kind="stable")[:top]
    return Seen(
        width=size[0],
        height=size[1],
        classes=tuple(int(number) for number in order),
        scores=tuple(float(scores[number]) for number in order),
    )


def _failure(job: str, error: Exception) -> PredictFailed:
    log_failure(log, "a prediction failed", error)
    evidence = evidence_of(error)
    if evidence is not None:
        return PredictFailed(
            job=job,
            code="predict.out_of_memory",
            message="Memory ran out while the pictures were looked at.",
            hint="send fewer at a time",
            out_of_memory=evidence,
        )
    return PredictFailed(job=job, code="predict.failed", message=in_words(error))
