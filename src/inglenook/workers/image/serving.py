# SPDX-License-Identifier: Apache-2.0
"""The main thread of every worker that draws: one Draw after another with the model in memory."""

import logging
from abc import abstractmethod
from typing import ClassVar, Generic, Protocol, TypeVar

from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.image import Draw, DrawFailed, LastWord, LoadImageModel
from inglenook.wire.message import Message, OutOfMemory
from inglenook.workers.serving import ModelWorker
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)

ModelT = TypeVar("ModelT")


class Drawing(Protocol):
    """What draws with a model that is in memory."""

    def execute(self, draw: Draw) -> LastWord: ...


class DrawingWorker(ModelWorker[LoadImageModel, Draw, ModelT], Generic[ModelT]):
    opens: ClassVar[type[Message]] = LoadImageModel
    failed_to_load: ClassVar[str] = "load.unsupported"

    @abstractmethod
    def studio(self, model: ModelT, request: LoadImageModel) -> Drawing: ...

    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:  # noqa: ARG002 - for those who know
        return None

    def ready(self, model: ModelT, request: LoadImageModel) -> None:
        self._studio = self.studio(model, request)

    def do(self, work: Draw) -> Message:
        try:
            return self._studio.execute(work)
        except PeerGone:
            raise
        except InglenookError as error:
            return DrawFailed(job=work.job, code=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            log_failure(log, "a draw failed", error)
            return DrawFailed(job=work.job, code="draw.failed", message=in_words(error))
