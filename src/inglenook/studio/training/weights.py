# SPDX-License-Identifier: Apache-2.0
"""Trained weights that are not here are brought before a training starts, through the one way out: so each
connection stands in the ledger, and the process that trains never asks anybody."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Failed, InglenookError
from inglenook.base.units import format_bytes
from inglenook.outgoing.model import Bounds, Saved
from inglenook.outgoing.service import OutgoingService
from inglenook.store.files import write_error
from inglenook.wire.studio import weights as places
from inglenook.wire.studio.backbones import BackboneFacts, find_backbone
from inglenook.wire.studio.spec import ModelSpec

BYTES_A_PARAMETER: Final = 6
"""A float32 has 4; the rest leaves room for a head and for names."""
HEAD_BYTES: Final = 128 * 2**20
"""A head of ImageNet's 21,841 classes on 1,280 features, and more."""
FETCH_S: Final = 3600.0

Say = Callable[[str], Awaitable[None]]


class WeightsNotFetched(Failed):
    default_code = "weights.not_fetched"


class Weights:
    """Args:
    models: folders in which weights may lie; fetched ones go below the first.
    allowed: whether anything may be fetched (`studio.weights_hub`).
    """

    def __init__(self, *, outgoing: OutgoingService, models: Sequence[Path], allowed: bool) -> None:
        self._outgoing = outgoing
        self._models = tuple(models)
        self._allowed = allowed
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def bring(self, spec: ModelSpec, *, say: Say, stop: StopToken) -> None:
        """Fetch what `spec` asks for where it is not here and may be fetched. Where it may not, nothing
        happens: the worker says what is missing. Where `stop` is set, it ends early. Where trained weights
        are only taken if they are at hand (`pretrained` is `auto`), a fetch that fails is told, and no error.

        Args:
            say: told what was fetched.

        Raises:
            WeightsNotFetched: they were asked for, and the other side did not give them, or gave
                something else.
            NotAllowed: `outgoing` forbids it.
            Failed, Unavailable: the disk.
        """
        facts = find_backbone(spec.backbone)
        if facts is None or not self._allowed or not await asyncio.to_thread(self._lacks, spec, facts):
            return
        name = places.fetched_name(facts)
        assert name is not None
        async with self._fetching[name]:
            if not await asyncio.to_thread(self._lacks, spec, facts):
                return
            try:
                saved = await self._fetched(facts, self._models[0] / places.FOLDER / name, stop)
            except WeightsNotFetched as error:
                if spec.pretrained != "auto":
                    raise
                await say(error.message)
                return
        if saved is not None:
            await say(
                f"Fetched the weights of {facts.title}: {name}, {format_bytes(saved.bytes)}, "
                f"SHA-256 {saved.sha256[:16]}."
            )

    def _lacks(self, spec: ModelSpec, facts: BackboneFacts) -> bool:
        if not spec.pretrained or spec.weights not in ("auto", "hub") or places.address_of(facts) is None:
            return False
        here = any(places.fetched_files(facts, self._models))
        if spec.weights == "auto":
            here = (
                here
                or any(places.weight_files(facts, "auto", self._models))
                or places.packaged_weights(facts) is not None
            )
        return not here

    async def _fetched(self, facts: BackboneFacts, path: Path, stop: StopToken) -> Saved | None:
        part = path.with_name(f"{path.name}.part")
        try:
            file = await asyncio.to_thread(_opened, part)
            with file:
                saved = await _unless(stop, self._save(facts, file))
                await asyncio.to_thread(os.fsync, file.fileno())
            if saved is not None:
                await asyncio.to_thread(part.replace, path)
        except OSError as error:
            raise write_error(error, path) from error
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return saved

    async def _save(self, facts: BackboneFacts, file: BinaryIO) -> Saved:
        address = places.address_of(facts)
        assert address is not None
        bounds = Bounds(
            max_bytes=round(facts.parameters_m * 1e6 * BYTES_A_PARAMETER) + HEAD_BYTES, total_s=FETCH_S
        )
        try:
            saved = await self._outgoing.save(
                address, file, purpose=f"weights of {facts.title}", bounds=bounds
            )
        except InglenookError as error:
            raise WeightsNotFetched(
                f"The weights of {facts.title} could not be fetched from {address}: {error.message}",
                hint=error.hint or "try again, or put the file into the models folder yourself",
            ) from error
        known = places.sha256_begins(facts)
        if not saved.sha256.startswith(known):
            raise WeightsNotFetched(
                f"{address} gave another file than its name says: SHA-256 {saved.sha256[:16]} does not begin "
                f"with {known}. Nothing was kept.",
                hint="try again; if it recurs, something changes it on its way",
            )
        return saved


def _opened(part: Path) -> BinaryIO:
    part.parent.mkdir(parents=True, exist_ok=True)
    return part.open("wb")


async def _unless(stop: StopToken, work: Awaitable[Saved]) -> Saved | None:
    """What `work` gives; None where `stop` was set first, and `work` has ended."""
    fetching, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([fetching, stopping], return_when=asyncio.FIRST_COMPLETED)
        return fetching.result() if fetching.done() else None
    finally:
        fetching.cancel()
        stopping.cancel()
        await asyncio.gather(fetching, stopping, return_exceptions=True)
