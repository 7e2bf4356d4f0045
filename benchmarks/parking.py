# SPDX-License-Identifier: Apache-2.0
"""Training that steps aside: an hour of other work without a pause, played with fakes; and a real training
on the CPU that is parked again and again, beside the same training left alone.

`python -m benchmarks.parking` prints one JSON object.
"""

import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image

from inglenook.base.cancel import StopToken
from inglenook.base.ids import LeaseId, ModelId, PersonId, RequestId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.engines.studio import StudioEngine
from inglenook.runtime.contracts import LoadPlan, ParkReceipt, Request, ResidentState
from inglenook.runtime.devices import tree_rss_bytes
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.policy import Evict, Park, Resume, Rules, Serve, Start, decide
from inglenook.testing.devices import fake_device
from inglenook.wire.message import Message
from inglenook.wire.studio.spec import (
    Augmentations,
    Example,
    Hyperparameters,
    ModelSpec,
    Step,
    TrainSpec,
)
from inglenook.wire.studio.training import MEASURED, Batch, Began, Epoch, Train, Trained

PEOPLE = 3
HOUR_S = 3600
WORK_S = 3.0
HOURS = ((0.1, 30.0), (0.2, 30.0), (0.5, 30.0), (0.2, 10.0))
TRAINING = LoadPlan(ModelId("run"), "fake", {"cuda": 8}, load_s=1.0, parkable=True)

BACKBONE = "resnet18"
SIDE_PX = 32
PICTURES = 96
BATCH_SIZE = 16
EPOCHS = 4
PARKED = 4
MIB = 2**20


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    hours = [_hour(share, slice_s) for share, slice_s in HOURS]
    return {"people": PEOPLE, "hours": hours, "training": asyncio.run(_training())}


# -- an hour with fakes ----------------------------------------------------------------------------------


class _World:
    """The ledger and the policy; each second, what was waited for happens."""

    def __init__(self, rules: Rules) -> None:
        self.ledger = Ledger((fake_device("cuda:0", 10),))
        self.rules = rules
        self.now_s = 0.0
        self.numbers = count()
        self.spent_s = 0.0
        self.decisions = 0
        self.waits: list[float] = []

    def ask(self, person: str, plan: LoadPlan, work_class: WorkClass) -> None:
        number = next(self.numbers)
        request = Request(
            RequestId(f"req{number:06}"), PersonId(person), work_class, plan, person, number, self.now_s
        )
        self.ledger.submit(request)

    def settle(self) -> None:
        began = time.process_time()
        while (decision := decide(self.ledger, self.now_s, self.rules)) is not None:
            self.decisions += 1
            self._carry_out(decision)
        self.spent_s += time.process_time() - began

    def _carry_out(self, decision: object) -> None:
        ledger, now_s = self.ledger, self.now_s
        match decision:
            case Serve(request, resident):
                asked = ledger.waiting[request]
                if asked.work_class is not WorkClass.TRAINING:
                    self.waits.append(now_s - asked.arrived_s)
                ledger.grant(request, resident, LeaseId(f"lease{next(self.numbers)}"), now_s)
            case Start(request, device):
                ledger.begin(
                    ResidentId(f"res{next(self.numbers):06}"), ledger.waiting[request], device, now_s
                )
            case Evict(resident, reason, request):
                ledger.drain(resident, reason, request)
            case Park(resident, request, reason):
                ledger.park(resident, reason, now_s, request)
            case Resume(resident, _, due_s):
                ledger.resume(resident, now_s, due_s)
            case _:
                raise AssertionError(decision)

    def second(self) -> None:
        for held in list(self.ledger.leases.values()):
            short = held.request.work_class is not WorkClass.TRAINING
            if short and self.now_s - held.granted_s >= WORK_S:
                self.ledger.release(held.id, self.now_s)
        for resident in list(self.ledger.residents.values()):
            match resident.state:
                case ResidentState.STARTING:
                    self.ledger.became_ready(resident.id, self.now_s)
                case ResidentState.DRAINING:
                    self.ledger.gone(resident.id, self.now_s, None)
                case ResidentState.PARKING:
                    self.ledger.parked(resident.id, self.now_s, ParkReceipt(1.0, 8, 0), None)
                case ResidentState.RESUMING:
                    self.ledger.resumed(resident.id, self.now_s)
                case _:
                    pass
        self.now_s += 1.0
        self.settle()


def _hour(share: float, slice_s: float) -> dict[str, Any]:
    world = _World(Rules(training_share=share, training_slice_s=slice_s, aging_s=1e6, idle_unload_s=None))
    world.ask("tess", TRAINING, WorkClass.TRAINING)
    world.settle()
    for _ in range(600):  # it has the device for itself at first
        world.second()
    (training,) = world.ledger.residents.values()
    worked = 0
    for _ in range(HOUR_S):
        for number in range(PEOPLE):
            person = f"person{number}"
            if not any(r.person == person for r in world.ledger.waiting.values()):
                plan = LoadPlan(ModelId(f"model{number % 2}"), "fake", {"cuda": 6}, load_s=1.0)
                world.ask(person, plan, WorkClass.INTERACTIVE)
        world.second()
        worked += training.state is ResidentState.READY
    return {
        "share": share,
        "slice_s": slice_s,
        "got": round(worked / HOUR_S, 4),
        "parked": training.parking.times,
        "wait_mean_s": round(statistics.mean(world.waits), 1),
        "wait_most_s": round(max(world.waits), 1),
        "decisions_per_s": round(world.decisions / world.spent_s),
    }


# -- a real training ---------------------------------------------------------------------------------------


@dataclass
class _Run:
    """What one training said."""

    began: Began | None = None
    epochs: list[dict[str, float]] = field(default_factory=list)
    network: dict[str, Any] = field(default_factory=dict)
    receipts: list[tuple[float, float]] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)


async def _training() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = _pictures(root / "pictures")
        alone = await _run(root / "alone", manifest, parks=0)
        aside = await _run(root / "aside", manifest, parks=PARKED)
    assert aside.began is not None
    return {
        "backbone": BACKBONE,
        "parameters": aside.began.parameters,
        "device": aside.began.device,
        "side_px": SIDE_PX,
        "batch_size": BATCH_SIZE,
        "epochs": len(alone.epochs),
        "parked": len(aside.receipts),
        "park_s": round(statistics.median(park_s for park_s, _ in aside.receipts), 3),
        "resume_s": round(statistics.median(resume_s for _, resume_s in aside.receipts), 3),
        "before_mib": round(statistics.median(before for before, _ in aside.memory) / MIB),
        "after_mib": round(statistics.median(after for _, after in aside.memory) / MIB),
        "losses_equal": alone.epochs == aside.epochs,
        "weights_equal": _same(alone.network, aside.network),
    }


async def _run(folder: Path, manifest: Path, parks: int) -> _Run:
    run_folder = folder / "run"
    await asyncio.to_thread(run_folder.mkdir, parents=True)
    engine = StudioEngine(
        spool_root=folder / "spool",
        start_timeout_s=120.0,
        cancel_grace_s=30.0,
        stop_grace_s=5.0,
        cpu_threads=1,
    )
    child = await engine.start(LoadPlan(ModelId("run"), engine.name, {"cpu": 1}), fake_device("cpu", 2**40))
    found, more = _Run(), asyncio.Event()

    async def tell(message: Message) -> None:
        if isinstance(message, Began):
            found.began = message
        if isinstance(message, Batch):
            more.set()
        if isinstance(message, Epoch):
            found.epochs.append({k: v for k, v in message.values.items() if k not in MEASURED})

    try:
        await child.ready()
        train = Train(
            job="job",
            task="classification",
            classes=("left", "right"),
            manifest=str(manifest),
            folder=str(run_folder),
            spec=_spec(),
        )
        work = asyncio.create_task(child.train(train, stop=StopToken(), tell=tell))
        (pid,) = child.pids
        for _ in range(parks):
            more.clear()
            await more.wait()
            before, began = tree_rss_bytes(pid), time.perf_counter()
            await child.park()
            park_s = time.perf_counter() - began
            after, began = tree_rss_bytes(pid), time.perf_counter()
            await child.unpark()
            found.receipts.append((park_s, time.perf_counter() - began))
            found.memory.append((before, after))
        last = await work
        assert isinstance(last, Trained), last
        found.network = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)["network"]
    finally:
        await child.stop(5.0)
        await child.discard()
    return found


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _spec() -> TrainSpec:
    steps = (Step(name="Resize", params={"size": [SIDE_PX, SIDE_PX]}), Step(name="ToImage"))
    shaken = (Step(name="RandomHorizontalFlip", params={"p": 0.5}), *steps)
    return TrainSpec(
        model=ModelSpec(backbone=BACKBONE, pretrained=False),
        hyperparameters=Hyperparameters(max_epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=0.001),
        augmentations=Augmentations(train=shaken, val=steps),
    )


def _pictures(folder: Path) -> Path:
    """Noise, brighter on the left or on the right; every sixth is for validation."""
    folder.mkdir()
    rng = np.random.default_rng(7)
    lines = []
    for number in range(PICTURES):
        pixels = rng.integers(0, 120, (SIDE_PX, SIDE_PX, 3))
        half = slice(0, SIDE_PX // 2) if number % 2 == 0 else slice(SIDE_PX // 2, SIDE_PX)
        pixels[:, half] += 100
        file = folder / f"{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        subset = "val" if number % 6 == 5 else "train"
        lines.append(Example(id=f"img-{number}", file=str(file), subset=subset, target=number % 2))
    manifest = folder / "manifest.jsonl"
    manifest.write_bytes(b"\n".join(msgspec.json.encode(line) for line in lines))
    return manifest


if __name__ == "__main__":
    main()
