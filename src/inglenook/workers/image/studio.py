# SPDX-License-Identifier: Apache-2.0
"""What a Draw needs around any model: where its pictures lie, whom it tells, when it stops."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from inglenook.base.clock import Clock
from inglenook.wire.image import Draw, Notice, PictureMade, Progress, SavingLevel, Stage
from inglenook.wire.message import Message
from inglenook.workers.image.errors import Stopped
from inglenook.workers.image.spool import Spool

DEFAULT_STRENGTH: Final = {"image": 0.8, "inpaint": 1.0}
"""For a Draw that names none: enough of the picture stays to be recognised; a masked part is drawn anew."""


class AnyStudio:
    """Args:
    saving: the level that the model was loaded with.
    send: sends one message to the server.
    should_stop: asked before every step, or as often as the library lets us.
    """

    def __init__(
        self,
        *,
        saving: SavingLevel,
        spool: Spool,
        send: Callable[[Message], None],
        should_stop: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self.saving = saving
        self._spool = spool
        self._send = send
        self._should_stop = should_stop
        self._clock = clock

    def _stop_if_asked(self, index: int, step: int) -> None:
        """Raises `Stopped`."""
        if self._should_stop():
            raise Stopped(picture=index, step=step)

    def _notice(self, draw: Draw, text: str) -> None:
        self._send(Notice(job=draw.job, text=text))

    def _progress(
        self, draw: Draw, stage: Stage, index: int, step: int, steps: int, preview: str | None = None
    ) -> None:
        self._send(
            Progress(
                job=draw.job,
                stage=stage,
                picture=index,
                pictures=len(draw.seeds),
                step=step,
                steps=steps,
                preview=preview,
            )
        )

    def _hang(self, draw: Draw, index: int, pixels: npt.NDArray[np.uint8], *, began: float) -> str:
        """The file of a finished picture, which the server is told of.

        Args:
            pixels: (height, width, 3).
            began: when its noise was made, on our clock.
        """
        self._progress(draw, "decode", index, 1, 1)
        file = self._spool.write("picture", pixels)
        self._send(
            PictureMade(
                job=draw.job,
                picture=index,
                seed=draw.seeds[index],
                file=file,
                width=pixels.shape[1],
                height=pixels.shape[0],
                seconds=self._clock.monotonic() - began,
            )
        )
        return file
