# SPDX-License-Identifier: Apache-2.0
"""Trained weights are fetched by the server, through its one way out, before a training begins."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.test_outgoing import HERE, Site, page

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.errors import InglenookError
from inglenook.outgoing.model import Rules
from inglenook.outgoing.records import OutgoingRecords
from inglenook.outgoing.service import OutgoingService
from inglenook.store.database import Database
from inglenook.studio.training.weights import Weights
from inglenook.testing.clock import FakeClock
from inglenook.wire.studio import weights as places
from inglenook.wire.studio.spec import ModelSpec

CONTENT = b"weights"
NAME = f"resnet18-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"
WANTED = ModelSpec(backbone="resnet18", pretrained=True)


@dataclass
class Bench:
    records: OutgoingRecords
    models: Path
    patch: pytest.MonkeyPatch
    site: Site = field(default_factory=Site)
    said: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.models / "weights" / NAME

    def bring(
        self,
        *wanted: ModelSpec,
        allowed: bool = True,
        offline: bool = False,
        stop: StopToken | None = None,
    ) -> None:
        """All at once."""

        async def say(text: str) -> None:
            self.said.append(text)

        async def main() -> None:
            server = await asyncio.start_server(self.site.serve, HERE, 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                self.patch.setattr(places, "TORCHVISION", f"http://{HERE}:{port}/models/")
                self.patch.setitem(places.TORCHVISION_FILES, "resnet18", NAME)
                rules = Rules(private_hosts=(HERE,), ports=(port,), offline=offline)
                outgoing = OutgoingService(records=self.records, rules=rules)
                weights = Weights(outgoing=outgoing, models=(self.models,), allowed=allowed)
                token = StopToken() if stop is None else stop
                await asyncio.gather(
                    *(weights.bring(one, say=say, stop=token) for one in wanted or (WANTED,))
                )

        asyncio.run(main())


@pytest.fixture
def bench(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench(OutgoingRecords(database=database, clock=FakeClock()), tmp_path / "models", monkeypatch)
    found.site.answers[f"/models/{NAME}"] = page(CONTENT, kind="application/octet-stream")
    return found


def test_weights_are_fetched_once_and_the_ledger_says_so(bench: Bench) -> None:
    bench.bring(WANTED, WANTED)
    bench.bring()
    assert bench.file.read_bytes() == CONTENT
    assert [path.name for path in bench.file.parent.iterdir()] == [NAME]
    (entry,) = bench.records.listing(limit=9)
    assert (entry.host, entry.purpose, entry.status) == (HERE, "weights of ResNet-18", 200)
    digest = hashlib.sha256(CONTENT).hexdigest()[:16]
    assert bench.said == [f"Fetched the weights of ResNet-18: {NAME}, 7 B, SHA-256 {digest}."]


@pytest.mark.parametrize("weights", ["auto", "package", "a.pth"])
def test_nothing_is_fetched_that_is_here_or_was_not_asked_for(bench: Bench, weights: str) -> None:
    bench.models.mkdir()
    (bench.models / "resnet18.safetensors").write_bytes(b"mine")
    bench.bring(ModelSpec(backbone="resnet18", pretrained=True, weights=weights))
    bench.bring(ModelSpec(backbone="resnet18", pretrained=False, weights="hub"))
    assert bench.records.listing(limit=9) == []


def test_nothing_is_fetched_where_it_is_not_allowed(bench: Bench) -> None:
    bench.bring(allowed=False)
    with pytest.raises(InglenookError, match=r"outgoing\.offline"):
        bench.bring(offline=True)
    assert bench.records.listing(limit=9) == []


def test_another_file_than_the_address_names_is_not_kept(bench: Bench) -> None:
    bench.site.answers[f"/models/{NAME}"] = page(b"others", kind="application/octet-stream")
    with pytest.raises(InglenookError, match="gave another file than its name says"):
        bench.bring()
    assert list(bench.file.parent.iterdir()) == []


def test_an_address_without_a_file_is_named(bench: Bench) -> None:
    bench.site.answers.clear()
    with pytest.raises(InglenookError, match=rf"could not be fetched from http://.*{NAME}.*404") as caught:
        bench.bring()
    assert caught.value.code == "weights.not_fetched"


def test_a_run_that_takes_weights_only_where_they_are_at_hand_begins_without_those_that_cannot_be_fetched(
    bench: Bench,
) -> None:
    usual = ModelSpec(backbone="resnet18")
    assert usual.pretrained == "auto"
    bench.bring(usual)
    assert bench.file.read_bytes() == CONTENT
    bench.file.unlink()
    bench.said.clear()
    bench.site.answers.clear()
    bench.bring(usual)
    (told,) = bench.said
    assert "could not be fetched" in told
    assert not bench.file.exists()


def test_a_stopped_training_ends_its_fetching(bench: Bench) -> None:
    stop = StopToken()
    stop.stop(StopReason.CANCELLED)
    bench.bring(stop=stop)
    assert list(bench.file.parent.iterdir()) == []
