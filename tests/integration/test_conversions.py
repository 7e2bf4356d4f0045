# SPDX-License-Identifier: Apache-2.0
"""A conversion as a job, with the real child and the model that ships."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sprites.test_sprites_work import Told

from inglenook.base.cancel import StopReason
from inglenook.base.ids import OWNER, JobId, ModelId
from inglenook.base.work import WorkClass
from inglenook.catalog.service import BUILTIN_MODELS, CatalogService
from inglenook.engines import mlx
from inglenook.engines.mlx import Converters
from inglenook.images.conversion import KIND, ConversionExists, ConvertWork, Wish
from inglenook.jobs.model import Job, JobState
from inglenook.jobs.work import Stopped
from inglenook.testing.clock import FakeClock
from inglenook.testing.parts import require

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


class CalledOff(Told):
    """Somebody calls it off when the first part is written."""

    async def progress(self, fraction: float, **told: Any) -> None:
        await super().progress(fraction, **told)
        self.stop.stop(StopReason.CANCELLED)


def job(wish: Mapping[str, Any]) -> Job:
    return Job(
        id=JobId("job_1"),
        kind=KIND,
        owner=OWNER,
        state=JobState.RUNNING,
        work_class=WorkClass.BATCH,
        title="a conversion",
        payload=dict(wish),
        created_at=FakeClock().now(),
    )


WISH = {"model": "starter-339", "engine": "mlx", "name": "small", "dtype": "float32", "replace": False}


@pytest.fixture
def catalog(tmp_path: Path) -> CatalogService:
    (tmp_path / "models").mkdir()
    return CatalogService(roots=[tmp_path / "models"], builtin=BUILTIN_MODELS)


@pytest.fixture
def work(tmp_path: Path, catalog: CatalogService) -> ConvertWork:
    require(mlx.missing() is None, "MLX is not installed")
    converters = Converters(tmp_path / "spool", start_timeout_s=120, cancel_grace_s=60, stop_grace_s=5)
    (tmp_path / "spool").mkdir()
    return ConvertWork(catalog=catalog, converters=converters, models=tmp_path / "models", clock=FakeClock())


async def test_the_conversion_stands_in_the_library_when_the_job_is_done(
    work: ConvertWork, catalog: CatalogService
) -> None:
    report = Told()
    done = await work.run(job(WISH), report)
    assert done["model"] == "mlx/small"
    assert catalog.converted(ModelId("starter-339")) == catalog.get(ModelId("mlx/small"))
    told = [fraction for fraction, stage, _ in report.progressed if stage == "convert"]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    with pytest.raises(ConversionExists):
        await work.run(job(WISH), Told())


async def test_a_conversion_that_is_called_off_leaves_nothing(work: ConvertWork, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="nothing of it was kept"):
        await work.run(job(WISH), CalledOff())
    left = [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert left == []


def test_a_wish_is_its_payload_again() -> None:
    assert Wish(**WISH).target == "mlx/small"
