# SPDX-License-Identifier: Apache-2.0
"""The composition root: the only file that knows every constructor.

`open_workshop` builds everything below the door (the terminal draws with it when no server runs);
`create_app` puts the doors in front; `serve` does both and listens.
"""

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inglenook import __version__
from inglenook.base.cancel import StopToken
from inglenook.base.clock import Clock, SystemClock
from inglenook.base.errors import Conflict, InglenookError, Invalid
from inglenook.base.ids import BlobId, PersonId, PictureId
from inglenook.base.journal import WORKERS, Journal
from inglenook.catalog.model import LanguageTask, ModelKind, ModelRecord
from inglenook.catalog.service import AUTO, CatalogService
from inglenook.chat.conversations.records import ConversationRecords, PresetRecords
from inglenook.chat.conversations.service import ConversationService
from inglenook.chat.model import Defaults
from inglenook.chat.records import OptionRecords
from inglenook.chat.service import ChatService
from inglenook.engines import diffusers, mlx, sdcpp
from inglenook.engines.diffusers import DiffusersEngine
from inglenook.engines.llamacpp.engine import LlamaEngine
from inglenook.engines.llamacpp.found import LlamaPrograms
from inglenook.engines.llamacpp.kinds import Kinds
from inglenook.engines.mlx import Converters, MlxEngine
from inglenook.engines.onnx import OnnxEngine, kinds_of_devices
from inglenook.engines.pixels import PixelWorkshop
from inglenook.engines.sdcpp import SdcppEngine
from inglenook.engines.studio import StudioEngine
from inglenook.engines.whisper import WhisperEngine, find_ffmpeg
from inglenook.gallery.links import PictureLinks
from inglenook.gallery.records import PictureRecords
from inglenook.gallery.service import GalleryService
from inglenook.images.conversion import ConversionService, ConvertWork
from inglenook.images.engines import DrawingEngine, Engines
from inglenook.images.importing import PictureImporter
from inglenook.images.model import Engine
from inglenook.images.preloading import PicturePreloader
from inglenook.images.request import Limits
from inglenook.images.service import ImagesService
from inglenook.images.thumbnails import Thumbnails
from inglenook.images.work import ImageWork, Loading
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.jobs.work import Work
from inglenook.outgoing.model import Rules as OutgoingRules
from inglenook.outgoing.records import OutgoingRecords
from inglenook.outgoing.service import OutgoingService
from inglenook.prediction.matting import MattingService
from inglenook.prediction.service import PredictionService
from inglenook.runtime.devices import SystemProbe, system_sources
from inglenook.runtime.readahead import ReadAhead, SystemReader
from inglenook.runtime.records import FootprintRecords
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.settings import Loaded, Settings
from inglenook.settings.sources import Override
from inglenook.speech.model import SpeechLimits
from inglenook.speech.service import SpeechService
from inglenook.sprites.palettes import Palettes
from inglenook.sprites.service import SpritesService
from inglenook.sprites.work import SpriteWork
from inglenook.store import schema
from inglenook.store.blobs import LocalBlobs
from inglenook.store.configuration import Configuration
from inglenook.store.database import Database, sqlite_url
from inglenook.store.lock import DataLock, this_process
from inglenook.store.migrations import HEAD
from inglenook.store.overrides import SettingOverrides
from inglenook.store.secret import kept_secret
from inglenook.studio.opening import at_work, open_studio, works_of
from inglenook.studio.studio import Studio, WorkingStudio
from inglenook.wire.studio.weights import WeightsHere

if TYPE_CHECKING:
    from fastapi import FastAPI

    from inglenook.api.studio.models import Load
    from inglenook.chat.conversations.answering import Answers

log = logging.getLogger(__name__)

BUILTIN_MODELS: Final = Path(__file__).parent / "catalog" / "builtin"
TICK_S: Final = 0.5
WATCH_S: Final = 5.0
SWEEP_EVERY_S: Final = 3600.0
JOBS_STOP_S: Final = 15.0
NO_ADDRESS: Final = ""
PIXELAI_HOST: Final = "127.0.0.1"
"""Of PixelAI's own port, whatever `server.host` says: its clients know no other, and show no key."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Everything below the door, running."""

    loaded: Loaded
    clock: Clock
    lock: DataLock
    database: Database
    catalog: CatalogService
    scheduler: Scheduler
    jobs: JobsService
    gallery: GalleryService
    thumbnails: Thumbnails
    importer: PictureImporter
    images: ImagesService
    preloader: PicturePreloader
    chat: ChatService
    conversations: ConversationService
    speech: SpeechService
    predictions: PredictionService
    sprites: SpritesService
    conversions: ConversionService
    links: PictureLinks
    outgoing: OutgoingService
    configuration: Configuration
    watch: "DatabaseWatch"
    studio: WorkingStudio

    @property
    def settings(self) -> Settings:
        return self.loaded.settings


@asynccontextmanager
async def open_workshop(loaded: Loaded, *, address: str = NO_ADDRESS) -> AsyncIterator[Workshop]:
    """Build and start everything; stop and close it in the opposite order.

    Args:
        address: where the server will listen, for whoever finds the data folder taken.

    Raises:
        Conflict: another process uses the data folder, or a newer program has made its database.
        Invalid: a setting names a device that is not here.
    """
    clock = SystemClock()
    data = loaded.settings.server.data
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("models", "blobs"):
        (data / name).mkdir(mode=0o700, exist_ok=True)
    lock = DataLock(data)
    lock.acquire(this_process(address, clock.now()))
    try:
        database = _open_database(loaded.settings)
        try:
            running = _with_overrides(loaded, database, clock)
            configuration = Configuration(
                given=loaded,
                running=running,
                overrides=SettingOverrides(database=database, clock=clock),
                trial=_require_devices,
            )
            assert lock.holder is not None
            with open_studio(running.settings, clock=clock, holder=lock.holder) as studio:
                async with _running(running, lock, database, clock, configuration, studio) as workshop:
                    yield workshop
        finally:
            database.close()
    finally:
        lock.release()


@asynccontextmanager
async def _running(
    loaded: Loaded,
    lock: DataLock,
    database: Database,
    clock: Clock,
    configuration: Configuration,
    studio: Studio,
) -> AsyncIterator[Workshop]:
    settings = loaded.settings
    data = settings.server.data
    blobs = LocalBlobs(data / "blobs")
    catalog = CatalogService(
        roots=settings.model_folders,
        builtin=BUILTIN_MODELS,
        starters=settings.starter_folder,
        picture_model=settings.images.default_model,
    )
    programs = LlamaPrograms(setting=settings.language.server, engines=settings.engine_folder)
    scheduler, kinds = await asyncio.to_thread(_scheduler, settings, database, clock, programs)
    job_records = JobRecords(database=database)
    picture_records = PictureRecords(database=database)
    conversation_records = ConversationRecords(database=database)
    thumbnails = Thumbnails(
        data / "thumbnails",
        read=blobs.read,
        side_px=settings.gallery.thumbnail_px,
        max_pixels=settings.images.max_input_pixels,
    )
    gallery = GalleryService(
        records=picture_records,
        blobs=blobs,
        clock=clock,
        in_use=lambda blob: job_records.mentions(blob) or conversation_records.mentions(blob),
        keep_deleted=timedelta(days=settings.gallery.trash_days),
        forget=thumbnails.forget,
    )
    importer = PictureImporter(
        gallery=gallery,
        max_bytes=settings.server.max_upload_bytes,
        max_pixels=settings.images.max_input_pixels,
    )
    matting = MattingService(
        scheduler=scheduler,
        catalog=catalog,
        clock=clock,
        pinned=frozenset(settings.models.pinned),
        devices=kinds_of_devices(),
        max_pixels=settings.images.max_input_pixels,
    )
    work = ImageWork(
        scheduler=scheduler,
        catalog=catalog,
        gallery=gallery,
        blobs=blobs,
        clock=clock,
        pinned=frozenset(settings.models.pinned),
        loading=Loading(
            dtype=None if settings.images.dtype == "auto" else settings.images.dtype,
            saving=settings.images.saving,
            vae_on_cpu=settings.images.vae_on_cpu,
        ),
        matting=matting,
    )
    limits = JobLimits(
        queue_limit=settings.jobs.queue_limit,
        person_limit=settings.jobs.person_limit,
        max_active=settings.jobs.max_active,
    )
    outgoing = _outgoing(settings, database, clock)
    studio_works = works_of(studio, settings, scheduler=scheduler, outgoing=outgoing, clock=clock)
    pixels = _pixels(settings)
    sprite_work = SpriteWork(
        drawing=work, pixels=pixels, matting=matting, gallery=gallery, blobs=blobs, clock=clock
    )
    convert_work = ConvertWork(
        catalog=catalog,
        converters=Converters(
            spool_root=data / "spool",
            start_timeout_s=settings.runtime.start_timeout_s,
            cancel_grace_s=settings.runtime.cancel_grace_s,
            stop_grace_s=settings.runtime.stop_grace_s,
        ),
        models=data / "models",
        clock=clock,
    )
    works: list[Work] = [work, sprite_work, convert_work, *studio.works, *studio_works]
    jobs = JobsService(records=job_records, works=works, clock=clock, limits=limits)
    working = at_work(studio, settings, jobs=jobs, scheduler=scheduler, catalog=catalog, clock=clock)
    engines = _drawing_engines(scheduler, catalog)
    images = ImagesService(
        catalog=catalog,
        engines=engines,
        jobs=jobs,
        blobs=blobs,
        limits=Limits(
            max_side_px=settings.images.max_side_px,
            max_pixels=settings.images.max_pixels,
            max_pictures=settings.images.max_pictures,
            max_steps=settings.images.max_steps,
        ),
        max_upload_bytes=settings.server.max_upload_bytes,
        max_input_pixels=settings.images.max_input_pixels,
        block_nsfw=settings.images.block_nsfw,
    )
    preloader = PicturePreloader(work=work, limits=images.limits, engines=engines)
    sprites = SpritesService(
        catalog=catalog,
        images=images,
        jobs=jobs,
        gallery=gallery,
        blobs=blobs,
        pixels=pixels,
        matting=matting,
        engines=engines,
        preloader=preloader,
        model=settings.pixels.default_model,
        max_frames=settings.pixels.max_frames,
        max_upload_bytes=settings.server.max_upload_bytes,
        max_input_pixels=settings.images.max_input_pixels,
    )
    chat = ChatService(
        scheduler=scheduler,
        catalog=catalog,
        records=OptionRecords(database=database, clock=clock),
        clock=clock,
        defaults=_language_defaults(settings),
        default_names={
            LanguageTask.CHAT: settings.language.default_model,
            LanguageTask.EMBEDDING: settings.language.embedding_model,
            LanguageTask.RERANK: AUTO,
        },
        pinned=frozenset(settings.models.pinned),
        kinds=kinds,
    )
    await chat.open()
    conversations = ConversationService(
        records=conversation_records,
        presets=PresetRecords(database=database),
        blobs=blobs,
        clock=clock,
        in_use=lambda blob: job_records.mentions(blob) or picture_records.uses(blob) > 0,
        keep_deleted=timedelta(days=settings.gallery.trash_days),
    )
    await asyncio.to_thread(conversations.repair)
    links = PictureLinks(
        secret=kept_secret(data / "links.key"), lifetime_s=settings.images.link_lifetime_s, clock=clock
    )
    loop_task = asyncio.create_task(scheduler.run(), name="scheduler")
    loop_task.add_done_callback(_scheduler_ended)
    ticker = asyncio.create_task(_tick(scheduler), name="ticker")
    watch = DatabaseWatch(database)
    watcher = asyncio.create_task(watch.run(), name="database watch")
    sweeper = asyncio.create_task(_sweep(gallery, conversations), name="sweeper")
    asking = asyncio.create_task(asyncio.to_thread(kinds), name="llama.cpp's builds")  # before anybody waits
    await asyncio.to_thread(studio.imports.open, lambda upload: job_records.mentions(BlobId(upload)))
    await working.runs.recover()
    await asyncio.to_thread(working.exports.recover, studio.workspace.projects())
    await working.evaluation_runs.recover()
    await jobs.start()
    working.runs.follow_recovered()
    working.evaluation_runs.follow_recovered()
    try:
        yield Workshop(
            loaded=loaded,
            clock=clock,
            lock=lock,
            database=database,
            catalog=catalog,
            scheduler=scheduler,
            jobs=jobs,
            gallery=gallery,
            thumbnails=thumbnails,
            importer=importer,
            images=images,
            preloader=preloader,
            chat=chat,
            conversations=conversations,
            speech=_speech(settings, scheduler, catalog, clock),
            predictions=PredictionService(
                scheduler=scheduler,
                catalog=catalog,
                find=chat.find,
                clock=clock,
                pinned=frozenset(settings.models.pinned),
                devices=kinds_of_devices(),
                max_pixels=settings.images.max_input_pixels,
            ),
            sprites=sprites,
            conversions=ConversionService(catalog=catalog, jobs=jobs, models=data / "models"),
            links=links,
            outgoing=outgoing,
            configuration=configuration,
            watch=watch,
            studio=working,
        )
    finally:
        await jobs.stop(JOBS_STOP_S)
        await working.runs.close()
        await working.evaluation_runs.close()
        await pixels.close()
        await scheduler.close()
        for task in (ticker, watcher, sweeper, asking, loop_task):
            task.cancel()
        await asyncio.gather(ticker, watcher, sweeper, asking, loop_task, return_exceptions=True)


def _pixels(settings: Settings) -> PixelWorkshop:
    return PixelWorkshop(
        spool_root=settings.server.data / "spool",
        start_timeout_s=settings.runtime.start_timeout_s,
        cancel_grace_s=settings.runtime.cancel_grace_s,
        stop_grace_s=settings.runtime.stop_grace_s,
        memory_bytes=settings.pixels.memory_bytes,
        max_pixels=settings.images.max_input_pixels,
        keep_warm_s=settings.pixels.keep_warm_s,
    )


def _drawing_engines(scheduler: Scheduler, catalog: CatalogService) -> Engines:
    """In the order in which `auto` prefers them: on Apple silicon what was converted for MLX comes first, for
    nobody converts a model without meaning it; elsewhere MLX is slow. What does less comes
    last: stable-diffusion.cpp."""
    kinds = tuple(dict.fromkeys(device.kind for device in scheduler.devices))
    torch = DrawingEngine(
        engine=Engine.TORCH,
        title="PyTorch (diffusers)",
        missing=diffusers.missing,
        draws=lambda model: model if model.engine == diffusers.NAME else None,
        needs_conversion=False,
        modes=("text", "image", "inpaint", "edit"),
        loras=True,
        previews=True,
        devices=kinds,
    )
    apple = DrawingEngine(
        engine=Engine.MLX,
        title="MLX",
        missing=mlx.missing,
        draws=lambda model: catalog.converted(model.id),
        needs_conversion=True,
        modes=("text", "image", "inpaint"),
        loras=True,
        previews=True,
        families=mlx.FAMILIES,
        lacks=frozenset({"vae", "embeddings"}),
        devices=tuple(kind for kind in kinds if kind in mlx.kinds_of_devices()),
    )
    cpp = DrawingEngine(
        engine=Engine.SDCPP,
        title="stable-diffusion.cpp",
        missing=sdcpp.missing,
        draws=_by_sdcpp,
        needs_conversion=False,
        modes=("text", "image", "inpaint"),
        loras=False,
        previews=True,
        families=sdcpp.FAMILIES,
        lacks=frozenset({"vae", "embeddings", "hires"}),
        devices=tuple(kind for kind in kinds if kind in sdcpp.DEVICES),
    )
    return Engines([apple, torch, cpp] if "mps" in kinds else [torch, apple, cpp])


def _by_sdcpp(model: ModelRecord) -> ModelRecord | None:
    """The model as stable-diffusion.cpp draws with it, or None."""
    can = model.engine == diffusers.NAME and sdcpp.draws(
        layout=model.layout,
        family=model.family,
        variant=model.variant,
        lent=model.parts,
        path=model.path,
    )
    return replace(model, engine=sdcpp.NAME) if can and model.kind is ModelKind.IMAGE else None


def _weights(settings: Settings) -> WeightsHere:
    """What the studio's workers may begin with."""
    hub = settings.studio.weights_hub and not settings.outgoing.offline
    return WeightsHere(models=settings.model_folders, hub=hub)


def _language_defaults(settings: Settings) -> Defaults:
    language = settings.language
    return Defaults(
        context=language.context,
        max_context=language.max_context,
        parallel=language.parallel,
        flash_attention=language.flash_attention,
        cache_type_k=language.cache_type_k,
        cache_type_v=language.cache_type_v,
    )


def _speech(settings: Settings, scheduler: Scheduler, catalog: CatalogService, clock: Clock) -> SpeechService:
    return SpeechService(
        scheduler=scheduler,
        catalog=catalog,
        clock=clock,
        uploads=settings.server.data / "spool" / "recordings",
        limits=SpeechLimits(settings.speech.max_upload_bytes, settings.speech.max_duration_s),
        default_model=settings.language.speech_model,
        compute_type=settings.speech.compute_type,
        pinned=frozenset(settings.models.pinned),
    )


def _outgoing(settings: Settings, database: Database, clock: Clock) -> OutgoingService:
    rules = OutgoingRules(
        offline=settings.outgoing.offline,
        allow=settings.outgoing.allow,
        private_hosts=settings.outgoing.private_hosts,
        ports=settings.outgoing.ports,
    )
    return OutgoingService(records=OutgoingRecords(database=database, clock=clock), rules=rules)


@contextmanager
def outgoing_of(loaded: Loaded) -> Iterator[OutgoingService]:
    """The way out with its ledger, for commands that fetch something whether a server runs or not.

    Raises:
        Unavailable, Failed, Conflict: the database cannot be used.
        SettingsError: it holds an override that cannot be used.
    """
    loaded.settings.server.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(_database_url(loaded.settings))
    try:
        schema.upgrade(database)
        clock = SystemClock()
        yield _outgoing(_with_overrides(loaded, database, clock).settings, database, clock)
    finally:
        database.close()


@contextmanager
def studio_of(loaded: Loaded) -> Iterator[Studio]:
    """The studio alone, for commands that work on it while no server runs. Blocks.

    Raises:
        Conflict: a server, or another command, has it.
        Invalid, Unavailable, Failed: the workspace cannot be used.
    """
    data = loaded.settings.server.data
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()
    lock = DataLock(data)
    holder = this_process(NO_ADDRESS, clock.now())
    lock.acquire(holder)
    try:
        with open_studio(loaded.settings, clock=clock, holder=holder) as studio:
            yield studio
    finally:
        lock.release()


def _scheduler(
    settings: Settings, database: Database, clock: Clock, programs: LlamaPrograms
) -> tuple[Scheduler, Kinds]:
    """Blocks: asks the drivers, reads what was learned, and clears what a killed server left in the spool."""
    runtime = settings.runtime
    spool = settings.server.data / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(mode=0o700)
    probe = _probe(settings)
    book = FootprintRecords(database=database, clock=clock)
    engine = DiffusersEngine(
        spool_root=spool,
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
        cpu_threads=runtime.cpu_threads,
        compile_mode=None if settings.images.compile == "off" else settings.images.compile,
        compile_cache=settings.server.data / "compiled",
        profile=settings.images.profile,
    )
    llama = LlamaEngine(
        spool_root=spool,
        find=programs.find,
        start_timeout_s=runtime.start_timeout_s,
        stop_grace_s=runtime.stop_grace_s,
        threads=runtime.cpu_threads,
    )
    whisper = WhisperEngine(
        spool_root=spool,
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
        cpu_threads=runtime.cpu_threads,
        ffmpeg=(lambda: None) if settings.speech.ffmpeg == "off" else find_ffmpeg,
    )
    onnx = OnnxEngine(
        spool_root=spool,
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
        cpu_threads=runtime.cpu_threads,
    )
    apple = MlxEngine(
        spool_root=spool,
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
    )
    cpp = SdcppEngine(
        spool_root=spool,
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
        cpu_threads=runtime.cpu_threads,
    )
    studio = StudioEngine(
        spool_root=spool,
        start_timeout_s=runtime.start_timeout_s,
        cancel_grace_s=runtime.cancel_grace_s,
        stop_grace_s=runtime.stop_grace_s,
        cpu_threads=runtime.cpu_threads,
        models=settings.model_folders,
    )
    devices = probe.devices()
    log.info("devices, the first choice first: %s", ", ".join(f"{one.id} ({one.name})" for one in devices))
    kinds = Kinds(
        builds=lambda: programs.current().probe.builds, here=frozenset(device.kind for device in devices)
    )
    scheduler = Scheduler(
        engines={engine.name: engine for engine in (engine, apple, cpp, llama, whisper, onnx, studio)},
        ledger=Ledger(devices, book.learned()),
        rules=Rules(
            aging_s=runtime.aging_s,
            patience_s=runtime.switch_patience_s,
            idle_unload_s=runtime.idle_unload_s,
            max_loaded=runtime.max_loaded,
            training_share=runtime.training_share,
            training_slice_s=runtime.training_slice_s,
        ),
        clock=clock,
        probe=probe,
        book=book,
        stop_grace_s=runtime.stop_grace_s,
        park_grace_s=runtime.park_grace_s,
        ahead=ReadAhead(SystemReader()) if runtime.read_ahead else None,
    )
    return scheduler, kinds


def _probe(settings: Settings) -> SystemProbe:
    runtime = settings.runtime
    return SystemProbe(
        sources=system_sources(),
        budgets=runtime.budgets,
        reserve_bytes=runtime.reserve_bytes,
        only=None if runtime.devices == "auto" else runtime.devices,
    )


def _require_devices(settings: Settings) -> None:
    """Raise Invalid where the settings name a device that is not here. Blocks."""
    _probe(settings).devices()


def _scheduler_ended(task: "asyncio.Task[None]") -> None:
    """Without it nothing can be drawn: better no server than one that only looks alive."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("the scheduler has stopped, and so does the server", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


class DatabaseWatch:
    """Asks the database now and then, so that `/readyz` can tell without asking it each time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.problem: str | None = None

    async def run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(schema.version, self._database)
                self.problem = None
            except InglenookError as error:
                self.problem = error.message
            await asyncio.sleep(WATCH_S)


async def _tick(scheduler: Scheduler) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        scheduler.tick()


async def _sweep(gallery: GalleryService, conversations: ConversationService) -> None:
    """Empty the trash of what has lain there for long enough, at the start and once an hour."""
    while True:
        try:
            gone = await asyncio.to_thread(gallery.sweep)
            forgotten = await asyncio.to_thread(conversations.sweep)
        except InglenookError as error:  # a database that is away now is there in an hour
            log.warning("the trash was not swept: %s", error.message)
        else:
            for count, what in ((gone, "pictures"), (forgotten, "conversations")):
                if count:
                    log.info("%d deleted %s have lain in the trash for long enough and are gone", count, what)
        await asyncio.sleep(SWEEP_EVERY_S)


def _database_url(settings: Settings) -> str:
    url = settings.store.database_url
    return sqlite_url(settings.server.data / "inglenook.db") if url is None else url.get_secret_value()


def _open_database(settings: Settings) -> Database:
    database = Database(_database_url(settings))
    try:
        schema.upgrade(database)
        database.claim()
    except BaseException:
        database.close()
        raise
    return database


def database_version(settings: Settings) -> str | None:
    """The schema of the configured database, without making or changing it; None when there is none yet."""
    database = Database(_database_url(settings))
    if database.path is not None and not database.path.exists():
        return None  # the first connection would make it
    try:
        return schema.version(database)
    finally:
        database.close()


def kept_overrides(loaded: Loaded) -> Loaded:
    """`loaded` with the overrides that its database holds, which is neither made nor changed for it.

    Raises:
        Unavailable, Failed: the database cannot be used.
        SettingsError: it holds one that cannot be used.
    """
    if database_version(loaded.settings) != HEAD:
        return loaded
    database = Database(_database_url(loaded.settings))
    try:
        return _with_overrides(loaded, database, SystemClock())
    finally:
        database.close()


def _with_overrides(loaded: Loaded, database: Database, clock: Clock) -> Loaded:
    kept = SettingOverrides(database=database, clock=clock).listing()
    return loaded.with_overrides(
        {f"{o.section}.{o.key}": Override(o.value, o.person, o.changed_at) for o in kept}
    )


def create_app(workshop: Workshop, *, journal: Journal) -> "FastAPI":
    """The application with all its doors. Imports the web framework, which the terminal does not need."""
    from fastapi import FastAPI
    from prometheus_client import CollectorRegistry
    from starlette.staticfiles import StaticFiles

    from inglenook.api.alice import alice_router
    from inglenook.api.alice.answers import signed_url
    from inglenook.api.alice.gallery import gallery_router
    from inglenook.api.anthropic import messages_router, render_anthropic
    from inglenook.api.completions import completions_router
    from inglenook.api.completions.chat import LanguageChat
    from inglenook.api.completions.drawing import Drawing
    from inglenook.api.conversations import conversations_router
    from inglenook.api.cyber import cyber_router, render_detail
    from inglenook.api.deleting import Deleting
    from inglenook.api.description import description_router
    from inglenook.api.errors import render_json
    from inglenook.api.health import HEALTHY, OK, health_router, metrics_router
    from inglenook.api.language.desk import Desk
    from inglenook.api.language.pictures import Pictures
    from inglenook.api.mcp.door import McpDoor, mcp_router
    from inglenook.api.metrics import MeasureRequests, Metrics
    from inglenook.api.ollama import PATHS, ollama_router, render_ollama
    from inglenook.api.openai import openai_router
    from inglenook.api.openai.fine_tuning import fine_tuning_router
    from inglenook.api.pixel import pixel_router
    from inglenook.api.pixelai import PREFIX, Choices, pixelai_router, render_pixelai
    from inglenook.api.pixelai import Desk as PixelDesk
    from inglenook.api.projects import project_router
    from inglenook.api.projects.envelope import PREFIXES, render_envelope
    from inglenook.api.relay import Relay
    from inglenook.api.speech import FORM_BYTES, speech_router
    from inglenook.api.studio import studio_router
    from inglenook.api.studio.conversions import conversions_router
    from inglenook.api.studio.models import model_router
    from inglenook.api.vision import vision_router
    from inglenook.door.address import base_url
    from inglenook.door.administrator import Administration
    from inglenook.door.caller import MachineOwner
    from inglenook.door.fragments import Fragments
    from inglenook.door.frame import frame
    from inglenook.door.routes import add_routes
    from inglenook.web.chat_pages import chat_pages
    from inglenook.web.log_pages import log_pages
    from inglenook.web.login_pages import login_router
    from inglenook.web.model_pages import model_pages
    from inglenook.web.pages import web_router
    from inglenook.web.pixel.pages import pixel_pages
    from inglenook.web.reference import reference_router
    from inglenook.web.settings_pages import settings_router
    from inglenook.web.studio import studio_pages
    from inglenook.web.templating import STATIC, render_problem

    app = FastAPI(title="Inglenook", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    images, jobs, gallery, catalog = workshop.images, workshop.jobs, workshop.gallery, workshop.catalog
    runtime, clock = workshop.scheduler, workshop.clock
    links, outgoing = workshop.links, workshop.outgoing
    server = workshop.settings.server
    palettes = Palettes()
    metrics = Metrics(registry=CollectorRegistry())
    password = server.admin_password
    app.state.administration = Administration(
        password=None if password is None else password.get_secret_value(),
        secret=kept_secret(server.data / "admin.key"),
        clock=clock,
    )
    app.state.mcp = McpDoor(
        images=images,
        jobs=jobs,
        gallery=gallery,
        catalog=catalog,
        max_body_bytes=workshop.settings.server.max_upload_bytes,
    )
    chat = workshop.chat
    relay = Relay(language=chat)
    desk = Desk(language=chat, relay=relay, max_body_bytes=server.max_upload_bytes)
    pictures = Pictures(
        gallery=gallery,
        links=links,
        outgoing=outgoing,
        clock=clock,
        max_bytes=server.max_upload_bytes,
        max_pixels=workshop.settings.images.max_input_pixels,
    )
    drawing = Drawing(relay=relay, images=images, jobs=jobs, catalog=catalog, links=links, pictures=pictures)
    pixel_desk = PixelDesk(
        sprites=workshop.sprites,
        jobs=jobs,
        catalog=catalog,
        choices=Choices(server.data / "pixelai.json"),
        clock=clock,
        default_model=workshop.settings.pixels.default_model,
    )
    app.state.answers = _answers(workshop)
    app.state.fragments = Fragments()
    add_routes(
        app.router,
        health_router(
            version=__version__,
            parts=lambda: _parts(workshop),
            runtime=runtime,
            clock=clock,
            well=HEALTHY if server.health == "cyber-inference" else OK,
        ),
        metrics_router(metrics=metrics, jobs=jobs, runtime=runtime, counters=workshop.chat.counters),
        model_router(language=workshop.chat, loads=_loads(workshop)),
        conversions_router(conversions=workshop.conversions, jobs=jobs),
        alice_router(  # before OpenAI's, whose /v1/models/{id} would take its paths for ids
            images=images,
            jobs=jobs,
            gallery=gallery,
            catalog=catalog,
            runtime=runtime,
            links=links,
            outgoing=outgoing,
            clock=clock,
            max_body_bytes=server.max_upload_bytes,
            own_models=server.data / "models",
            find=chat.found,
            language=LanguageChat(desk=desk, pictures=pictures, drawing=drawing),
        ),
        openai_router(
            images=images,
            jobs=jobs,
            gallery=gallery,
            catalog=catalog,
            runtime=runtime,
            clock=clock,
            language=chat,
            sprites=workshop.sprites,
            palettes=palettes,
        ),
        completions_router(desk=desk, pictures=pictures),
        messages_router(desk=desk, pictures=pictures),
        cyber_router(
            language=workshop.chat,
            catalog=catalog,
            runtime=runtime,
            configuration=workshop.configuration,
            settings=workshop.settings,
            journal=journal,
            clock=clock,
            own_models=server.data / "models",
            loads=_loads(workshop),
            version=__version__,
            shut_down=lambda: os.kill(os.getpid(), signal.SIGTERM),
        ),
        ollama_router(
            language=chat,
            catalog=catalog,
            runtime=runtime,
            clock=clock,
            max_body_bytes=server.max_upload_bytes,
            own_models=server.data / "models",
            version=__version__,
            pictures=pictures,
        ),
        pixel_router(
            sprites=workshop.sprites,
            jobs=jobs,
            palettes=palettes,
            pictures=pictures,
            max_body_bytes=server.max_upload_bytes,
        ),
        pixelai_router(
            desk=pixel_desk,
            sprites=workshop.sprites,
            catalog=catalog,
            runtime=runtime,
            max_body_bytes=server.max_upload_bytes,
            version=__version__,
        ),
        speech_router(speech=workshop.speech),
        vision_router(
            predictions=workshop.predictions, pictures=pictures, max_body_bytes=server.max_upload_bytes
        ),
        studio_router(
            jobs=jobs,
            gallery=gallery,
            thumbnails=workshop.thumbnails,
            importer=workshop.importer,
            runtime=runtime,
            catalog=catalog,
            outgoing=outgoing,
            journal=journal,
            public_hours=workshop.settings.gallery.public_hours,
        ),
        conversations_router(
            conversations=workshop.conversations,
            answers=app.state.answers,
            images=images,
            max_body_bytes=server.max_upload_bytes,
        ),
        gallery_router(
            gallery=gallery,
            clock=clock,
            address=lambda request, picture: signed_url(
                base_url(request), links, picture.id, picture.media_type
            ),
            page_size=workshop.settings.gallery.page_size,
            public_hours=workshop.settings.gallery.public_hours,
        ),
        fine_tuning_router(workshop.studio),
        project_router(
            workshop.studio,
            jobs=jobs,
            gallery=gallery,
            deleting=Deleting(catalog=catalog, runtime=runtime, own_models=server.data / "models"),
        ),
        mcp_router(app.state.mcp),
        description_router(),
        reference_router(),
        login_router(),
        settings_router(configuration=workshop.configuration),
        web_router(images=images, jobs=jobs, gallery=gallery, catalog=catalog, runtime=runtime),
        pixel_pages(sprites=workshop.sprites, palettes=palettes, catalog=catalog),
        chat_pages(catalog=catalog, conversations=workshop.conversations, language=workshop.chat),
        model_pages(catalog=catalog, runtime=runtime, language=workshop.chat, loads=_loads(workshop)),
        log_pages(journal),
        studio_pages(
            workshop.studio,
            jobs=jobs,
            gallery=gallery,
            fragments=app.state.fragments,
            weights=_weights(workshop.settings),
        ),
    )
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    frame(
        app,
        identity=MachineOwner(),
        renderers={"": render_problem}
        | dict.fromkeys(("/v1", "/api", "/images", "/metrics", "/openapi.json", "/mcp"), render_json)
        | dict.fromkeys(("/tokenize", "/detokenize", "/apply-template", "/rerank"), render_json)
        | {"/v1/messages": render_anthropic}
        | dict.fromkeys(PREFIXES, render_envelope)
        | dict.fromkeys(PATHS, render_ollama)
        | {"/admin": render_detail, PREFIX + "/": render_pixelai},
        allowed_hosts=server.allowed_hosts,
        max_body_bytes=server.max_upload_bytes,
        clock=workshop.clock,
        body_limits={
            "/v1/audio/": (
                workshop.speech.limits.max_upload_bytes + FORM_BYTES,
                "speech.max_upload_bytes",
            ),
            "/api/datasets/": (
                workshop.settings.studio.max_upload_bytes + FORM_BYTES,
                "studio.max_upload_bytes",
            ),
        },
    )
    app.add_middleware(MeasureRequests, metrics=metrics, clock=workshop.clock)
    return app


def _answers(workshop: Workshop) -> "Answers":
    from inglenook.api.conversations.drawing import DrawingTools
    from inglenook.api.conversations.speaking import Speaker
    from inglenook.api.relay import Relay
    from inglenook.chat.conversations.answering import Answers

    chat, gallery = workshop.chat, workshop.gallery

    def picture(picture: PictureId, person: PersonId) -> bytes:
        kept, _ = gallery.file(picture, caller=person)
        return kept if isinstance(kept, bytes) else kept.read_bytes()

    return Answers(
        conversations=workshop.conversations,
        speak=Speaker(relay=Relay(language=chat)),
        find=chat.resolve,
        sees=chat.sees,
        picture=picture,
        blob=workshop.conversations.file,
        defaults=chat.defaults_for,
        tools=DrawingTools(
            images=workshop.images, jobs=workshop.jobs, gallery=gallery, catalog=workshop.catalog
        ),
        clock=workshop.clock,
    )


def _loads(workshop: Workshop) -> "dict[ModelKind, Load]":
    """What loads a model that nobody asks anything yet, by its kind."""

    async def language(model: ModelRecord, person: PersonId, stop: StopToken | None = None) -> None:
        token = StopToken() if stop is None else stop
        await workshop.chat.preload(model, person=person, stop=token)

    async def pictures(model: ModelRecord, person: PersonId, stop: StopToken | None = None) -> None:
        token = StopToken() if stop is None else stop
        await workshop.preloader.preload(model, person=person, stop=token)

    async def speech(model: ModelRecord, person: PersonId, stop: StopToken | None = None) -> None:
        token = StopToken() if stop is None else stop
        await workshop.speech.preload(model, person=person, stop=token)

    async def vision(model: ModelRecord, person: PersonId, stop: StopToken | None = None) -> None:
        token = StopToken() if stop is None else stop
        await workshop.predictions.preload(model, person=person, stop=token)

    return {
        ModelKind.LANGUAGE: language,
        ModelKind.IMAGE: pictures,
        ModelKind.SPEECH: speech,
        ModelKind.VISION: vision,
    }


def _parts(workshop: Workshop) -> dict[str, str | None]:
    """What requests need, and what of it is missing now."""
    return {
        "database": workshop.watch.problem,
        "runtime": None if workshop.scheduler.alive else "it has stopped",
    }


def serve(loaded: Loaded) -> None:
    """Listen until SIGINT or SIGTERM. Raises what `open_workshop` raises, and `Conflict` for a taken port."""
    settings = loaded.settings.server
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("alembic", "uvicorn", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    pixelai = loaded.settings.pixels.pixelai_port
    with closing(_listen(settings.host, settings.port)) as listener, ExitStack() as more:
        second = None
        if pixelai is not None:
            where = "another port with pixels.pixelai_port (off opens none)"
            second = more.enter_context(closing(_listen(PIXELAI_HOST, pixelai, other=where)))
        with _journal() as journal, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(loaded, listener, journal, pixelai=second))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, where there is one: it takes a seventh less processor time for a streamed chat."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


@contextmanager
def _journal() -> Iterator[Journal]:
    """What is logged from now on, also by the workers, whose lines go nowhere else."""
    journal = Journal()
    workers = logging.getLogger(WORKERS)
    workers.propagate = False
    workers.setLevel(logging.INFO)
    for logger in (logging.getLogger(), workers):
        logger.addHandler(journal)
    try:
        yield journal
    finally:
        for logger in (logging.getLogger(), workers):
            logger.removeHandler(journal)


def _listen(
    host: str, port: int, *, other: str = "another port with --port (0 takes any that is free)"
) -> socket.socket:
    """Args: other: how another port is chosen, for whoever finds this one taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; else each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Connections queue up from now on: whoever comes before the routes are ready waits a moment.
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if isinstance(error, PermissionError):
            raise Invalid(
                f"Port {port} may not be used: {error.strerror}.", hint="choose one above 1023"
            ) from error
        raise Conflict(
            f"Port {port} on {host} is in use by another program.",
            code="server.port_taken",
            hint=f"stop that program, or choose {other}",
        ) from error
    return listener


async def _serve(
    loaded: Loaded, listener: socket.socket, journal: Journal, *, pixelai: socket.socket | None = None
) -> None:
    """Args: pixelai: where PixelAI's dialect stands at the root."""
    import uvicorn

    from inglenook.api.pixelai import PREFIX
    from inglenook.api.pixelai.root import AtRoot
    from inglenook.api.pixelai.uploads import MAX_BYTES

    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    async with open_workshop(loaded, address=address) as workshop:
        app = create_app(workshop, journal=journal)

        class Server(uvicorn.Server):
            """Uvicorn, but the signals only ask it to stop: the workshop is closed after it."""

            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                loop = asyncio.get_running_loop()
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, self.handle_exit, number, None)
                yield

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                # Ends the event streams and sessions, for which uvicorn would wait.
                await workshop.jobs.stop(JOBS_STOP_S)
                await workshop.studio.runs.close()
                await app.state.answers.close()
                await app.state.mcp.close()
                # Answers that are being streamed end with an error in their dialect, and no wait goes on.
                await workshop.scheduler.close()
                await super().shutdown(sockets)

        ports = frozenset() if pixelai is None else frozenset({pixelai.getsockname()[1]})
        config = uvicorn.Config(
            AtRoot(app, ports=ports, prefix=PREFIX) if ports else app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
            ws_max_size=MAX_BYTES,
        )
        # What has been made until now stays. Left out of the collector's sight, it is not searched again and
        # again (0.1 s each time); while it was made, nothing was searched at all (0.2 s of a start).
        gc.freeze()
        gc.enable()
        print(f"Inglenook {__version__} listens on {address}", flush=True)  # noqa: T201 - what `make serve` shows
        for port in ports:
            print(f"PixelAI's API stands at http://{PIXELAI_HOST}:{port}", flush=True)  # noqa: T201
        warm_up = asyncio.create_task(asyncio.to_thread(workshop.catalog.refresh), name="catalog")
        await Server(config).serve(sockets=[listener] if pixelai is None else [listener, pixelai])
        await warm_up
