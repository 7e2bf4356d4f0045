# SPDX-License-Identifier: Apache-2.0
"""What the doors need of the services below them, and no more. `app.py` hands in the real ones."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.ids import (
    BlobId,
    ConversationId,
    JobId,
    MessageId,
    ModelId,
    PersonId,
    PictureId,
    PresetId,
    ResidentId,
)
from inglenook.base.work import WorkClass
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.chat.conversations.model import Conversation, Message, Part, Preset
from inglenook.chat.conversations.parameters import Parameters
from inglenook.chat.model import Counters, KeptOptions, ModelState
from inglenook.chat.service import Exchange, Hear
from inglenook.engines.pixels import MadePicture, WriteOrder, WrittenFile
from inglenook.gallery.model import ANY, Filter, Picture
from inglenook.images.canvas import Extended, Margins, Rectangle
from inglenook.images.engines import EngineStatus
from inglenook.images.model import Engine, ImageRequest
from inglenook.images.request import Limits
from inglenook.jobs.model import Job, JobEvent, JobState, Json
from inglenook.outgoing.model import Bounds, Entry, Fetched
from inglenook.pixels.model import Recipe
from inglenook.pixels.palettes import NamedPalette
from inglenook.prediction.model import Prediction
from inglenook.speech.model import Recorded, SpeechLimits, SpeechRequest, Transcript
from inglenook.speech.service import Tell
from inglenook.sprites.model import SpriteRequest
from inglenook.sprites.service import KeptSprite


class Images(Protocol):
    @property
    def limits(self) -> Limits:
        """What one request may ask for."""
        ...

    async def submit(
        self,
        request: ImageRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job: ...

    async def keep_input(self, data: bytes) -> BlobId: ...

    async def keep_marked(self, data: bytes, markup: bytes) -> BlobId:
        """A picture with what was scribbled over it laid on it."""
        ...

    async def keep_mask(self, data: bytes) -> BlobId: ...

    async def keep_own_mask(self, data: bytes) -> BlobId | None:
        """The transparent part of a picture as a mask; None where the picture is opaque."""
        ...

    async def input(self, blob: BlobId) -> bytes:
        """An input picture or a mask as it was kept: PNG."""
        ...

    async def extend(self, picture: BlobId, margins: Margins, mask: BlobId | None = None) -> Extended:
        """A kept picture with room around it, and the mask of what is new."""
        ...

    async def rectangle(self, picture: BlobId, part: Rectangle) -> BlobId:
        """A mask that opens a rectangle of a kept picture."""
        ...


class Jobs(Protocol):
    async def get(self, job: JobId, caller: PersonId) -> Job: ...

    async def list(
        self,
        caller: PersonId,
        *,
        states: Iterable[JobState] | None = None,
        kind: str | None = None,
        limit: int = 50,
        before: JobId | None = None,
    ) -> list[Job]: ...

    async def wait(self, job: JobId) -> Job: ...

    async def cancel(
        self, job: JobId, *, caller: PersonId, reason: StopReason = StopReason.CANCELLED
    ) -> Job: ...

    async def retry(self, job: JobId, *, caller: PersonId) -> Job: ...

    def subscribe(self, job: JobId, last_event_id: int | None = None) -> AsyncGenerator[JobEvent, None]:
        """Asks nobody who is reading: look with `get` first."""
        ...

    def subscribe_all(self, owner: PersonId) -> AsyncGenerator[JobEvent, None]: ...

    def describe(self, job: Job) -> Json: ...

    async def counts(self, kind: str | None = None) -> Mapping[JobState, int]: ...


class Gallery(Protocol):
    """Blocks."""

    def get(self, picture: PictureId, *, caller: PersonId, trashed: bool = False) -> Picture: ...

    def list(
        self,
        caller: PersonId,
        *,
        limit: int,
        before: PictureId | None = None,
        after: PictureId | None = None,
        filter: Filter = ANY,  # noqa: A002 - what it is
        oldest_first: bool = False,
    ) -> list[Picture]: ...

    def slice(
        self,
        caller: PersonId,
        *,
        offset: int,
        limit: int | None,
        filter: Filter = ANY,  # noqa: A002
    ) -> tuple[Sequence[Picture], int]: ...

    def some(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[Picture]: ...

    def kept(self, pictures: Sequence[PictureId], *, caller: PersonId) -> frozenset[PictureId]: ...

    def count(self, caller: PersonId, *, trashed: bool = False) -> int: ...

    def counts(self, caller: PersonId) -> Mapping[str, int]: ...

    def tags(self, caller: PersonId, *, limit: int = 1000) -> Sequence[tuple[str, int]]: ...

    def models(self, caller: PersonId, *, limit: int = 1000) -> Sequence[tuple[str, int]]: ...

    def file(
        self, picture: PictureId, *, caller: PersonId, trashed: bool = False
    ) -> tuple[Path | bytes, str]: ...

    def archive(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Iterator[bytes]: ...

    def favour(self, pictures: Sequence[PictureId], favourite: bool, *, caller: PersonId) -> int: ...

    def tag(self, picture: PictureId, tags: Sequence[str], *, caller: PersonId) -> Picture: ...

    def retag(
        self, pictures: Sequence[PictureId], *, add: Sequence[str], remove: Sequence[str], caller: PersonId
    ) -> int: ...

    def publish(
        self, picture: PictureId, public: bool, *, caller: PersonId, hours: int | None = None
    ) -> Picture: ...

    def trash(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[PictureId]: ...

    def restore(self, pictures: Sequence[PictureId], *, caller: PersonId) -> Sequence[PictureId]: ...

    def linked(self, picture: PictureId) -> Picture:
        """For whoever shows a signed address."""
        ...

    def delete(self, picture: PictureId, *, caller: PersonId) -> None: ...

    def empty_trash(self, *, caller: PersonId) -> int: ...

    def cleanup(self, *, caller: PersonId) -> int: ...


class Importer(Protocol):
    """Blocks."""

    def keep(self, data: bytes, *, owner: PersonId, name: str = "") -> Picture: ...

    def keep_alice(self, record: Mapping[str, Any], data: bytes, *, owner: PersonId) -> Picture: ...


class Thumbnails(Protocol):
    """Blocks."""

    def path(self, picture: Picture) -> Path: ...


class SpriteMaking(Protocol):
    """Sprites that are drawn. What each raises: `sprites.service`."""

    async def submit(
        self,
        request: SpriteRequest,
        *,
        owner: PersonId,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        idempotency_key: str | None = None,
    ) -> Job: ...

    async def keep_input(self, png: bytes) -> BlobId:
        """A canvas, a selection or a tile to draw from; its transparency is kept."""
        ...

    async def keep_mask(self, png: bytes) -> BlobId:
        """Drawn anew where it is opaque and light."""
        ...

    async def frames(self, job: JobId, *, person: PersonId) -> Sequence[bytes]:
        """Every finished picture of a job as PNG, variant by variant, in each frame by frame."""
        ...

    async def preload(
        self, model: ModelId, engine: Engine = Engine.AUTO, *, person: PersonId, stop: StopToken
    ) -> ModelId: ...

    async def engines(self) -> Sequence[EngineStatus]: ...

    def presets(self) -> dict[str, Any]:
        """Presets, styles, motions, sizes and base sizes, as JSON for a form."""
        ...


class Sprites(SpriteMaking, Protocol):
    """Besides: sprites of pictures that exist, and files of sprites."""

    def default_model(self) -> ModelId | None:
        """What "auto" draws with; None where nothing can. Blocks."""
        ...

    async def kept(self, picture: PictureId, *, person: PersonId) -> KeptSprite:
        """A picture of the gallery as frames."""
        ...

    async def convert(
        self,
        pictures: Sequence[bytes],
        recipe: Recipe,
        *,
        person: PersonId,
        stop: StopToken,
        whole_animation: bool = False,
    ) -> Sequence[MadePicture]: ...

    async def keep(
        self,
        made: Sequence[MadePicture],
        pictures: Sequence[bytes],
        recipe: Recipe,
        *,
        frame_ms: int,
        of: PictureId | None,
        person: PersonId,
        stop: StopToken,
    ) -> Picture:
        """Put what `convert` has made of `pictures` into the gallery."""
        ...

    async def export(
        self,
        frames: Sequence[bytes],
        order: WriteOrder,
        *,
        person: PersonId,
        stop: StopToken,
        parameters: Mapping[str, Any] | None = None,
    ) -> WrittenFile: ...


class Palettes(Protocol):
    """Palettes with names. Everything blocks."""

    def palettes(self) -> Mapping[str, NamedPalette]: ...

    def recipe(self, fields: Mapping[str, Any]) -> Recipe:
        """Raises Invalid with the field."""
        ...

    def read(self, data: bytes, name: str) -> NamedPalette:
        """The palette in a file. Raises Invalid, TooLarge."""
        ...


class Links(Protocol):
    """Signed addresses of pictures."""

    def name(self, picture: PictureId, media_type: str) -> str: ...

    def picture(self, name: str) -> PictureId: ...


class Outgoing(Protocol):
    """The one way out."""

    @property
    def offline(self) -> bool: ...

    async def fetch(self, url: str, *, purpose: str, bounds: Bounds) -> Fetched: ...

    def ledger(self, *, limit: int, before: int | None = None) -> list[Entry]:
        """Blocks."""
        ...


class Language(Protocol):
    """Language models: loaded when they are asked for."""

    def find(self, name: str | None) -> ModelRecord:
        """A model of any kind by id, alias or last part; None and "auto": what chats by default, and where
        nothing can, what draws. Blocks."""
        ...

    def resolve(self, name: str | None, task: LanguageTask = LanguageTask.CHAT) -> ModelRecord:
        """A language model that can do the task; None and "auto": the default of the task. Blocks."""
        ...

    async def named(self, name: str | None, task: LanguageTask = LanguageTask.CHAT) -> ModelRecord:
        """As `resolve`, without blocking; names that are known are answered from memory."""
        ...

    async def found(self, name: str | None) -> ModelRecord:
        """As `find`, without blocking; names that are known are answered from memory."""
        ...

    def aliases(self) -> Mapping[str, ModelId]:
        """Further names, and what they stand for."""
        ...

    def task_of(self, model: ModelRecord) -> LanguageTask | None: ...

    def projector(self, model: ModelRecord) -> ModelRecord | None:
        """What it sees or hears by, when it is loaded."""
        ...

    def sees(self, model: ModelRecord) -> bool:
        """Whether it takes pictures."""
        ...

    def defaults_for(self, model: ModelRecord) -> Mapping[str, Any]:
        """For what a request does not name, by llama.cpp's names, and `system`; only what is set."""
        ...

    def options(self, model: ModelId) -> KeptOptions: ...

    async def set_options(
        self, model: ModelRecord, changes: Mapping[str, Any], *, person: PersonId
    ) -> KeptOptions: ...

    async def reset_options(self, model: ModelRecord, *, person: PersonId) -> KeptOptions: ...

    async def preload(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        keep_s: float | None = None,
        hear: Hear | None = None,
        task: LanguageTask | None = None,
    ) -> ModelState:
        """Return when it is loaded."""
        ...

    def keep_loaded(self, model: ModelRecord, keep_s: float) -> None:
        """How long what is loaded of it stays unused from now on; -1 for ever."""
        ...

    async def unload(self, model: ModelRecord) -> ModelState:
        """Now when it is idle, when its work is done when it is not. Raises `NotLoaded`."""
        ...

    async def pin(self, model: ModelRecord, pinned: bool, *, person: PersonId) -> ModelState: ...

    def state(self, model: ModelRecord) -> ModelState: ...

    def counters(self) -> Mapping[ModelId, Counters]: ...

    def exchange(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        keep_s: float | None = None,
        context: int | None = None,
        hear: Hear | None = None,
        task: LanguageTask | None = None,
    ) -> AbstractAsyncContextManager[Exchange]:
        """Hold a slot of the loaded model; see `ChatService.exchange`."""
        ...


class Conversations(Protocol):
    """Blocks. What each raises: `chat.conversations.service`."""

    def get(
        self, conversation: ConversationId, *, caller: PersonId, trashed: bool = False
    ) -> Conversation: ...

    def messages(self, conversation: ConversationId, *, caller: PersonId) -> Sequence[Message]: ...

    def list(
        self,
        caller: PersonId,
        *,
        limit: int,
        before: ConversationId | None = None,
        search: str = "",
        archived: bool | None = False,
        trashed: bool = False,
    ) -> list[Conversation]: ...

    def count(self, caller: PersonId, *, trashed: bool = False, archived: bool | None = None) -> int: ...

    def create(
        self,
        *,
        owner: PersonId,
        title: str = "",
        model: str = "",
        system: str = "",
        parameters: Parameters | None = None,
    ) -> Conversation: ...

    def bring(
        self, documents: Iterable[bytes], *, owner: PersonId, keep: Callable[[bytes], BlobId]
    ) -> Sequence[Conversation]: ...

    def file(self, blob: BlobId) -> bytes: ...

    def change(self, conversation: ConversationId, *, caller: PersonId, **values: Any) -> Conversation: ...

    def show(self, conversation: ConversationId, message: MessageId, *, caller: PersonId) -> Conversation: ...

    def say(
        self,
        conversation: ConversationId,
        parts: Sequence[Part],
        *,
        parent: MessageId | None,
        caller: PersonId,
    ) -> Message: ...

    def trash(self, conversation: ConversationId, *, caller: PersonId) -> None: ...

    def restore(self, conversation: ConversationId, *, caller: PersonId) -> Conversation: ...

    def delete(self, conversation: ConversationId, *, caller: PersonId) -> None: ...

    def empty_trash(self, *, caller: PersonId) -> int: ...

    def presets(self, *, caller: PersonId) -> Sequence[Preset]: ...

    def keep_preset(self, name: str, text: str, *, caller: PersonId) -> Preset: ...

    def delete_preset(self, preset: PresetId, *, caller: PersonId) -> None: ...


class Speech(Protocol):
    """Speech to text."""

    @property
    def limits(self) -> SpeechLimits: ...

    def resolve(self, name: str | None) -> ModelRecord:
        """Blocks."""
        ...

    def receive(self) -> AbstractContextManager[Path]:
        """A file of our own for a recording. Blocks."""
        ...

    def check(self, request: SpeechRequest, model: ModelRecord) -> SpeechRequest: ...

    async def transcribe(
        self,
        request: SpeechRequest,
        recorded: Recorded,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        hear: Hear | None = None,
        tell: Tell | None = None,
    ) -> Transcript: ...


class Predictions(Protocol):
    """What pictures show."""

    @property
    def max_pixels(self) -> int:
        """Of a picture."""
        ...

    def resolve(self, name: str | None) -> ModelRecord:
        """A vision model. Blocks."""
        ...

    async def predict(
        self,
        pictures: Sequence[bytes],
        model: ModelRecord,
        *,
        top: int,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        hear: Hear | None = None,
    ) -> Prediction: ...


class Conversions(Protocol):
    async def submit(
        self,
        model: str,
        engine: str,
        *,
        owner: PersonId,
        name: str | None = None,
        dtype: str = "float16",
        replace: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Raises NotFound, Invalid, Conflict, Unavailable, Busy."""
        ...


class Catalog(Protocol):
    """Blocks."""

    def list(self, kind: ModelKind | None = None) -> list[ModelRecord]: ...

    def get(self, model_id: ModelId) -> ModelRecord: ...

    def resolve(self, name: str) -> ModelRecord: ...

    def find(self, name: str) -> ModelRecord: ...

    def resolve_part(self, name: str, kind: ModelKind) -> ModelRecord: ...

    def refresh(self) -> None: ...


class Runtime(Protocol):
    def snapshot(self) -> Mapping[str, Any]: ...

    async def unload(self, resident: ResidentId) -> bool:
        """End an idle resident; False when it is not there or is at work."""
        ...
