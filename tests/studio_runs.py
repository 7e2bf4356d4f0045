# SPDX-License-Identifier: Apache-2.0
"""A studio with its queue and its runtime, whose workers learn nothing: for tests of experiments."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inglenook.base.clock import SystemClock
from inglenook.base.ids import OWNER, PersonId
from inglenook.jobs.limits import JobLimits
from inglenook.jobs.records import JobRecords
from inglenook.jobs.service import JobsService
from inglenook.outgoing.model import Rules as OutgoingRules
from inglenook.outgoing.records import OutgoingRecords
from inglenook.outgoing.service import OutgoingService
from inglenook.runtime.contracts import Device
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.policy import Rules
from inglenook.store.database import Database
from inglenook.store.lock import this_process
from inglenook.studio.checks.service import ChecksService
from inglenook.studio.datasets.book import DatasetBook
from inglenook.studio.datasets.model import NewImage
from inglenook.studio.datasets.service import DatasetsService
from inglenook.studio.datasets.thumbnails import ThumbnailMaker
from inglenook.studio.evaluation.documents import EvaluationDocuments
from inglenook.studio.evaluation.runs import EvaluationRuns
from inglenook.studio.evaluation.service import EvaluationsService
from inglenook.studio.evaluation.views import EvaluationViews
from inglenook.studio.evaluation.work import EvaluateWork
from inglenook.studio.projects.service import ProjectsService
from inglenook.studio.splits.model import Plan, Ratios
from inglenook.studio.splits.service import SplitsService
from inglenook.studio.training.documents import ExperimentDocuments
from inglenook.studio.training.material import Material
from inglenook.studio.training.model import Experiment, Status
from inglenook.studio.training.news import News, Newsroom
from inglenook.studio.training.runs import Runs
from inglenook.studio.training.service import ExperimentsService
from inglenook.studio.training.slots import Slots
from inglenook.studio.training.watching import Watching
from inglenook.studio.training.weights import Weights
from inglenook.studio.training.work import TrainWork
from inglenook.studio.workspace import Workspace
from inglenook.testing.devices import FakeBook, FakeProbe, fake_device
from inglenook.testing.engines import FakeEngine, ScriptedStudioEngine
from inglenook.vision.annotations import Label

CPU = fake_device("cpu", 10**11)
CLASSES = ("cat", "dog")


def fill(datasets: DatasetsService, splits: SplitsService, project: str) -> None:
    """Ten pictures of two classes, 6 of them to train with, 2 to validate, 2 to test. Their files are no
    pictures: nobody looks."""
    staging = datasets.begin(project, "add", by=OWNER, source_format="image_folders", source_path="tests")
    for number in range(10):
        data = f"picture {number}".encode()
        (staging.folder / f"{number}.png").write_bytes(data)
        name = CLASSES[number % 2]
        staging.add(
            NewImage(
                file=f"{number}.png",
                original=f"{name}/{number}.png",
                width=8,
                height=8,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                annotations=(Label(class_id=CLASSES.index(name), class_name=name),),
            )
        )
    staging.commit("10 pictures", CLASSES)
    splits.create(project, "first", Plan(ratios=Ratios(train=0.6, val=0.2, test=0.2), seed=42), by=OWNER)


@dataclass
class Bench:
    """Everything of experiments, running."""

    experiments: ExperimentsService
    runs: Runs
    watching: Watching
    documents: ExperimentDocuments
    projects: ProjectsService
    jobs: JobsService
    scheduler: Scheduler
    engine: ScriptedStudioEngine
    work: TrainWork
    datasets: DatasetsService
    splits: SplitsService
    project: str
    evaluations: EvaluationsService
    evaluation_runs: EvaluationRuns
    views: EvaluationViews

    def made(self, name: str = "normal", *, epochs: int = 4, **hyperparameters: Any) -> Experiment:
        asked = {
            "name": name,
            "model": {"backbone": "small_cnn", "pretrained": False},
            "hyperparameters": {"max_epochs": epochs, **hyperparameters},
        }
        return self.experiments.create(OWNER, self.project, asked)

    def now(self, experiment: Experiment) -> Experiment:
        return self.documents.read(self.project, experiment.id)

    async def start(self, experiment: Experiment, person: PersonId = OWNER) -> Experiment:
        return await self.runs.start(person, self.project, experiment.id)

    async def stop(self, experiment: Experiment) -> Experiment:
        """When it has stopped: on a busy machine that takes longer than the answer waits for it."""
        await self.runs.stop(OWNER, self.project, experiment.id)
        return await self.until(experiment, Status.CANCELLED)

    async def until(self, experiment: Experiment, *statuses: Status) -> Experiment:
        """When it has one of these statuses, or has ended."""
        async with asyncio.timeout(60):
            while True:
                found = self.now(experiment)
                if found.status in statuses:
                    return found
                async with aclosing(self.watching.stream(self.project, experiment.id)) as stream:
                    async for news in stream:
                        if news.kind == "status" and news.data["status"] in statuses:
                            break
                        if news.kind == "complete":
                            break
                found = self.now(experiment)
                assert found.status in statuses or found.is_running, found
        raise AssertionError

    async def until_epoch(self, experiment: Experiment, epoch: int) -> None:
        async with asyncio.timeout(60), aclosing(self.watching.stream(self.project, experiment.id)) as stream:
            async for news in stream:
                if news.kind == "epoch_end" and news.data["epoch"] >= epoch:
                    return

    async def seen(self, experiment: Experiment, last: int | None = None) -> list[News]:
        """Everything that its stream tells until it ends."""
        async with (
            asyncio.timeout(60),
            aclosing(self.watching.stream(self.project, experiment.id, last)) as it,
        ):
            return [news async for news in it]


@asynccontextmanager
async def bench(
    root: Path,
    database: Database,
    *,
    devices: Sequence[Device] = (CPU,),
    slots: int = 1,
    rules: Rules | None = None,
    project: str | None = None,
) -> AsyncIterator[Bench]:
    """Args:
    project: of an earlier bench on the same folder; a new one for None.
    """
    clock = SystemClock()
    workspace = Workspace(root / "studio", clock)
    workspace.open(this_process("", clock.now()))
    engine = ScriptedStudioEngine(spool_root=root / "spool")
    ledger = Ledger(devices)
    scheduler = Scheduler(
        engines={"studio": engine, "fake": FakeEngine(auto=True)},
        ledger=ledger,
        rules=Rules() if rules is None else rules,
        clock=clock,
        probe=FakeProbe(devices),
        book=FakeBook(),
        stop_grace_s=0.5,
    )
    projects = ProjectsService(workspace=workspace, clock=clock)
    documents = ExperimentDocuments(workspace=workspace, clock=clock)
    thumbnails = ThumbnailMaker(max_pixels=10**6)
    datasets = DatasetsService(
        book=DatasetBook(workspace=workspace, clock=clock),
        projects=projects,
        thumbnails=thumbnails,
        max_images=100,
    )
    splits = SplitsService(workspace=workspace, datasets=datasets, clock=clock)
    material = Material(datasets=datasets, splits=splits)
    if project is None:
        project = projects.create(OWNER, "Pets", "classification").id
        fill(datasets, splits, project)
    newsroom = Newsroom()
    nothing_leaves = OutgoingService(
        records=OutgoingRecords(database=database, clock=clock), rules=OutgoingRules(offline=True)
    )
    work = TrainWork(
        scheduler=scheduler,
        documents=documents,
        material=material,
        newsroom=newsroom,
        slots=Slots(slots),
        clock=clock,
        save_every_s=60.0,
        weights=Weights(outgoing=nothing_leaves, models=(), allowed=False),
    )
    checks = ChecksService(datasets=datasets, clock=clock)
    evaluation_documents = EvaluationDocuments(experiments=documents)
    evaluations = EvaluationsService(
        projects=projects,
        datasets=datasets,
        checks=checks,
        experiments=documents,
        documents=evaluation_documents,
    )
    documents.before_clearing(evaluations.forget)
    evaluate = EvaluateWork(scheduler=scheduler, documents=evaluation_documents, checks=checks, clock=clock)
    jobs = JobsService(
        records=JobRecords(database=database),
        works=[work, evaluate],
        clock=clock,
        limits=JobLimits(pulse_s=60.0),
    )
    runs = Runs(
        projects=projects,
        documents=documents,
        material=material,
        jobs=jobs,
        newsroom=newsroom,
        devices=scheduler.devices,
    )
    evaluation_runs = EvaluationRuns(evaluations=evaluations, jobs=jobs)
    loop = asyncio.create_task(scheduler.run())
    ticker = asyncio.create_task(_tick(scheduler))
    try:
        await runs.recover()
        await evaluation_runs.recover()
        await jobs.start()
        runs.follow_recovered()
        evaluation_runs.follow_recovered()
        yield Bench(
            experiments=ExperimentsService(projects=projects, documents=documents, material=material),
            runs=runs,
            watching=Watching(documents=documents, newsroom=newsroom),
            documents=documents,
            projects=projects,
            jobs=jobs,
            scheduler=scheduler,
            engine=engine,
            work=work,
            datasets=datasets,
            splits=splits,
            project=project,
            evaluations=evaluations,
            evaluation_runs=evaluation_runs,
            views=EvaluationViews(documents=evaluation_documents),
        )
    finally:
        await jobs.stop(10)
        await runs.close()
        await evaluation_runs.close()
        await scheduler.close()
        for task in (ticker, loop):
            task.cancel()
        await asyncio.gather(ticker, loop, return_exceptions=True)
        thumbnails.close()
        workspace.close()


async def _tick(scheduler: Scheduler) -> None:
    """Time passes for the scheduler, as in a server."""
    while True:
        await asyncio.sleep(0.2)
        scheduler.tick()
