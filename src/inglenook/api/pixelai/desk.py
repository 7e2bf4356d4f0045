# SPDX-License-Identifier: Apache-2.0
"""From what was asked to raw pixels: look up, submit, follow, answer. The routes and the socket share it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from inglenook.api.paths import inside, renamed, told
from inglenook.api.pixelai.asked import Asked
from inglenook.api.pixelai.chosen import AUTO, Choices
from inglenook.api.pixelai.rgba import Raw, raw_of
from inglenook.api.pixelai.shapes import NothingDraws
from inglenook.api.pixelai.tracks import Track, Tracks
from inglenook.base.cancel import StopReason
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, Conflict, InglenookError, Invalid, NotFound, Unavailable
from inglenook.base.ids import BlobId, PersonId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.door.services import Catalog, Jobs, SpriteMaking
from inglenook.images.model import Engine, LoraChoice
from inglenook.jobs.model import FINAL, EventType, JobState
from inglenook.pixels.checking import read_recipe
from inglenook.pixels.palettes import builtin
from inglenook.sprites.model import Side, SpriteRequest
from inglenook.sprites.presets import worded


@dataclass(frozen=True, slots=True)
class Given:
    """Input pictures that are kept already."""

    image: BlobId | None = None
    mask: BlobId | None = None


_THEIRS: Final = {"size": "width", "base_width": "width", "image": "init_image", "loras": "lora_model"}
"""Fields of a `SpriteRequest` as a client of this dialect wrote them."""
Keep = Callable[[], Awaitable[Given]]


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a generation.

    Attributes:
        frames: of all variants, variant by variant.
        result: of the job: what the work said about it.
    """

    track: Track
    frames: Sequence[Raw]
    result: Mapping[str, Any]


class Desk:
    """Belongs to the event loop. What it follows ends with the jobs.

    Args:
        default_model: that draws where neither a request nor its person names one; "auto": the catalogue's.
    """

    def __init__(
        self,
        *,
        sprites: SpriteMaking,
        jobs: Jobs,
        catalog: Catalog,
        choices: Choices,
        clock: Clock,
        default_model: str,
    ) -> None:
        self.tracks = Tracks(clock=clock)
        self.choices = choices
        self._sprites = sprites
        self._jobs = jobs
        self._catalog = catalog
        self._default_model = default_model
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, asked: Asked, keep: Keep, *, person: PersonId) -> Track:
        """Begin a generation, and return at once; or the one that this request began before.

        Args:
            keep: keeps the input pictures; awaited once, and not at all where the request is an old one.

        Raises:
            Conflict: the id is taken, or another is under way (`Tracks.begin`).
        """
        track, joined = self.tracks.begin(asked, person=person)
        if not joined:
            self._spawn(self._submit(track, keep), f"submit {track.id}")
        return track

    async def begun(self, track: Track) -> None:
        """Return when it stands in the queue.

        Raises:
            NothingDraws: no model could.
            InglenookError: as `Sprites.submit` and `keep`.
        """
        await track.begun.wait()
        if track.refused is not None:
            raise track.refused

    async def _submit(self, track: Track, keep: Keep) -> None:
        """Never broken off half-way: a job that nobody knows of would go on for nobody."""
        try:
            asked = await self._settled(track)
            request = await run_in_threadpool(self._request, track, asked, await keep())
            if track.stopping:
                track.finish(None, Cancelled("It was called off before it began.", code="job.cancelled"))
                return
            with told(renamed(_THEIRS)):
                job = await self._sprites.submit(request, owner=track.person)
        except InglenookError as error:
            self.tracks.drop(track, error)
            return
        track.job = job.id
        track.begun.set()
        self._stop_if_wished(track)
        await self._follow(track)

    def _stop_if_wished(self, track: Track) -> None:
        """The wish may have come while it was submitted."""
        if track.stopping:
            self._spawn(self._stop(track, StopReason.CANCELLED), f"cancel {track.id}")

    async def _settled(self, track: Track) -> Asked:
        """The request with the person's own choice of model and engine where it names none."""
        choice = await asyncio.to_thread(self.choices.of, track.person)
        asked = track.asked
        track.engine = asked.engine or choice.engine
        return replace(asked, model=asked.model or choice.model, engine=track.engine)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what was asked ------------------------------------------------------------------------------

    def _request(self, track: Track, asked: Asked, given: Given) -> SpriteRequest:
        model = self.model(asked.model)
        track.full_prompt = worded(asked.prompt, model, preset=asked.preset, style=asked.style)
        loras = () if asked.lora is None else (LoraChoice(self.lora(asked.lora).id, asked.lora_strength),)
        said: dict[str, Any] = {"frame_strength": asked.frame_strength, "frame_ms": asked.frame_ms}
        with told(inside("recipe", asked.own_recipe)):
            recipe = read_recipe(asked.recipe, palettes=builtin())
        return SpriteRequest(
            prompt=asked.prompt,
            negative_prompt=asked.negative_prompt,
            model=model.id,
            engine=Engine(asked.engine or AUTO),
            preset=asked.preset,
            style=asked.style,
            base_width=asked.width,
            base_height=asked.height,
            recipe=recipe,
            n=asked.n,
            frames=asked.frames,
            motion=asked.motion,
            steps=asked.steps,
            guidance_scale=asked.guidance_scale,
            seed=asked.seed,
            loras=loras,
            image=given.image,
            mask=given.mask,
            strength=asked.strength,
            continue_tile=None if asked.continue_tile is None else Side(asked.continue_tile),
            previews=asked.previews,
            **{name: value for name, value in said.items() if value is not None},
        )

    def model(self, name: str | None) -> ModelRecord:
        """The model of this name; without one, or for "auto", what draws sprites by default. Blocks.

        Raises:
            NothingDraws: there is none at all.
            NotFound, Invalid: as `Catalog.resolve`.
        """
        try:
            return self._catalog.resolve(self._default_model if name in (None, AUTO) else name)
        except NotFound:
            if any(one.problem is None for one in self._catalog.list(ModelKind.IMAGE)):
                raise
            raise NothingDraws from None

    def lora(self, name: str) -> ModelRecord:
        """The LoRA that a client means: by its id, or as the original writes it: a repository's name or a
        file's. Blocks. Raises NotFound, Invalid."""
        plain = name.removesuffix(".safetensors")
        try:
            return self._catalog.resolve_part(plain, ModelKind.LORA)
        except NotFound:
            last = plain.rpartition("/")[2]
            if last in ("", plain):
                raise
            return self._catalog.resolve_part(last, ModelKind.LORA)

    # -- what becomes of it ----------------------------------------------------------------------------

    async def _follow(self, track: Track) -> None:
        assert track.job is not None
        end: dict[str, Any] | None = None
        problem: InglenookError | None = None
        try:
            async with aclosing(self._jobs.subscribe(track.job)) as events:
                async for event in events:
                    track.hear(event)
                    if event.type is EventType.STATE:
                        end = event.data
        except InglenookError as error:
            problem = error
        finally:
            final = end is not None and JobState(end["state"]) in FINAL
            lost = Unavailable("The server stopped before it was done.", code="job.stopping")
            track.finish(end if final else None, None if final else problem or lost)

    async def made(self, track: Track) -> Made:
        """Wait for its end.

        Raises:
            Cancelled: somebody called it off.
            InglenookError: as the job failed.
        """
        await track.ended.wait()
        error = track.error()
        if error is not None:
            raise error
        assert track.job is not None
        assert track.end is not None
        pictures = await self._sprites.frames(track.job, person=track.person)
        frames = [await asyncio.to_thread(raw_of, picture) for picture in pictures]
        return Made(track, frames, track.end["result"])

    def cancel(self, track: Track, reason: StopReason = StopReason.CANCELLED) -> bool:
        """Ask it to stop, and return at once: whether this was the first wish, and it had not ended."""
        if track.ended.is_set() or track.stopping:
            return False
        track.stopping = True
        if track.job is not None:
            self._spawn(self._stop(track, reason), f"cancel {track.id}")
        return True

    async def _stop(self, track: Track, reason: StopReason) -> None:
        assert track.job is not None
        with suppress(Conflict, NotFound):  # it has just ended
            await self._jobs.cancel(track.job, caller=track.person, reason=reason)


def check_inputs(asked: Asked) -> None:
    """Raises Invalid for inputs that have no meaning alone."""
    if asked.init_image is not None:
        return
    for name in ("mask", "strength", "continue_tile"):
        if getattr(asked, name) is not None:
            raise Invalid(
                f"{name} is given, but there is no init_image that it could be about.",
                field=name,
                hint="send init_image as well, or leave it out",
            )
