# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: load one model, then one Predict after another until told to end."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Loaded, LoadFailed, Message
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
from inglenook.workers.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.telling import in_words, log_failure
from inglenook.workers.vision.errors import BadPicture, Stopped, evidence_of
from inglenook.workers.vision.network import Network
from inglenook.workers.vision.pictures import read, save_matte

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class Worker:
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model onto a device.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox[LoadVisionModel, Predict | Matte],
        load: Callable[[LoadVisionModel], Network],
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._load = load
        self._clock = clock

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            request = self._inbox.next()
            if not isinstance(request, LoadVisionModel):
                return EXIT_DONE  # a Shutdown before anything was loaded
            network = self._loaded(request)
            if network is None:
                return EXIT_LOAD_FAILED
            while isinstance(work := self._inbox.next(), Predict | Matte):
                last_word = self._last_word(network, request, work)
                self._inbox.finished()
                self._channel.send(last_word)
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _loaded(self, request: LoadVisionModel) -> Network | None:
        """The model in memory, `Loaded` sent; or None, `LoadFailed` sent."""
        began = self._clock.monotonic()
        try:
            network = self._load(request)
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(_load_failure(error, request.device))
            return None
        self._inbox.loaded()
        seconds = self._clock.monotonic() - began
        log.info("loaded in %.1f s on %s", seconds, request.device)
        self._channel.send(Loaded(seconds=seconds, weights_bytes=Path(request.path).stat().st_size))
        return network

    def _last_word(self, network: Network, load: LoadVisionModel, work: Predict | Matte) -> Message:
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


def _load_failure(error: Exception, device: str) -> LoadFailed:
    if isinstance(error, InglenookError):
        return LoadFailed(code=error.code, message=str(error))
    log_failure(log, "loading failed", error)
    evidence = evidence_of(error)
    if evidence is not None:
        message = f"Memory ran out on {device} while the model was loaded: {error}"
        return LoadFailed(code="load.out_of_memory", message=message, out_of_memory=evidence)
    return LoadFailed(code="load.failed", message=f"The model could not be loaded: {in_words(error)[:2000]}")


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
    return PredictFailed(job=job, code="predict.failed", message=in_words(error)[:2000])
