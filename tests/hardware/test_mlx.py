# SPDX-License-Identifier: Apache-2.0
"""What only Apple silicon can show: MLX draws on its GPU, in half precision, and tells of its memory.

Not run by us so far.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inglenook.engines import mlx

pytestmark = pytest.mark.hardware

ON_APPLE = "mps" in mlx.kinds_of_devices()
NONE_HERE = "this machine is no Apple silicon with MLX"


def drawn(folder: Path, place: Path, *, device: str, dtype: str) -> tuple[np.ndarray, Any]:
    import mlx.core as mx

    from inglenook.base.clock import SystemClock
    from inglenook.wire.image import Draw, LoadImageModel, PictureMade
    from inglenook.workers.image.spool import Spool
    from inglenook.workers.mlx.drawing import Studio
    from inglenook.workers.mlx.model import DEVICES, Model

    mx.set_default_device(mx.Device(DEVICES[device]))
    place.mkdir()
    sent: list[Any] = []
    load = LoadImageModel(
        path=str(folder), layout="folder", family="sd1", device=device, dtype=dtype, spool=str(place)
    )
    studio = Studio(
        model=Model(load), saving=0, spool=Spool(place), send=sent.append, should_stop=lambda: False,
        clock=SystemClock(),
    )  # fmt: skip
    draw = Draw(job="j", prompt="a red fox", width=32, height=32, steps=14, guidance_scale=3.0, seeds=(1,))
    last = studio.execute(draw)
    (made,) = [message for message in sent if isinstance(message, PictureMade)]
    return np.asarray(Image.open(place / made.file)).astype(int), last


@pytest.mark.skipif(not ON_APPLE, reason=NONE_HERE)
@pytest.mark.parametrize(("dtype", "levels"), [("float32", 2), ("float16", 16), ("bfloat16", 60)])
def test_the_gpu_draws_what_the_processor_draws(tmp_path: Path, dtype: str, levels: int) -> None:
    from tests.mlx_models import STARTER, converted

    folder = converted(STARTER, tmp_path / "starter", dtype=dtype)
    there, last = drawn(folder, tmp_path / "gpu", device="mps", dtype=dtype)
    here, _ = drawn(folder, tmp_path / "cpu", device="cpu", dtype="float32")
    assert last.peak_bytes > 0
    assert np.abs(there - here).max() <= levels


@pytest.mark.skipif(not ON_APPLE, reason=NONE_HERE)
def test_metal_says_what_it_was_asked_for_when_memory_runs_out() -> None:
    import mlx.core as mx

    from inglenook.workers.mlx.memory import evidence_of

    mx.set_default_device(mx.Device(mx.gpu))
    with pytest.raises(RuntimeError) as refused:
        mx.eval(mx.zeros((2**30, 2**12)))
    evidence = evidence_of(refused.value)
    assert evidence is not None
    assert evidence.requested_bytes is not None
