# SPDX-License-Identifier: Apache-2.0
"""Our denoising loop against diffusers' own pipeline call, for each family that we draw with.

`python -m benchmarks.families` prints one JSON object. Random models, 64 x 64 pixels, the same steps, seed
and settings on both sides, one thread, in turn. CPU seconds, so that a busy machine does not blur them; each
ratio is the median over rounds of theirs to ours, above 1 where ours is faster. Every round is another
prompt, so that nobody remembers the last one. The first round also compares the pictures.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from benchmarks.random_models import MODELS, Model, small_references
from benchmarks.worker_side import Worker, loaded

ROUNDS = 11
SIDE_PX = 64
STEPS = 8

Side = Callable[[int], Any]
"""Seed → uint8 (height, width, 3)."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(json.dumps(measure(rounds), indent=1))


def measure(rounds: int) -> dict[str, Any]:
    import torch

    from inglenook.workers.image.worker import quieten

    torch.set_num_threads(1)
    quieten()
    found = {}
    for title, model in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[title] = _compare(model, model.write(Path(folder)), rounds)
    return found


def _compare(model: Model, folder: Path, rounds: int) -> dict[str, float]:
    family = loaded(folder, model.family, model.variant)
    pipeline = _pipeline(folder)
    ours, theirs = _ours(model, Worker(family)), _theirs(model, pipeline)
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    with small_references(family, pipeline):
        apart = _levels_apart(ours(0), theirs(0))
        for seed in range(1, rounds + 1):  # in turn, so that a busy moment of the machine hits both
            for name, draw in (("theirs", theirs), ("ours", ours)):
                began = time.process_time()
                draw(seed)
                times[name].append(time.process_time() - began)
    return {
        "diffusers_cpu_s": statistics.median(times["theirs"]),
        "ours_cpu_s": statistics.median(times["ours"]),
        "speed_ratio": statistics.median(a / b for a, b in zip(times["theirs"], times["ours"], strict=True)),
        "steps": STEPS,
        "largest_difference_of_255": apart,
    }


def _levels_apart(ours: Any, theirs: Any) -> int:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1, "a flat picture would be equal to anything flat"
    return int(abs(ours.astype(int) - theirs.astype(int)).max())


def _pipeline(folder: Path) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _ours(model: Model, worker: Worker) -> Side:
    mode = {}
    if model.edits:
        worker.spool.references["given"] = _given()
        mode = {"mode": "edit", "references": ("given",)}
    return lambda seed: worker.draw(
        prompt=_prompt(seed), width=SIDE_PX, height=SIDE_PX, steps=STEPS, guidance_scale=model.guidance,
        seeds=(seed,), **mode,
    )  # fmt: skip


def _theirs(model: Model, pipeline: Any) -> Side:
    import numpy as np
    import torch
    from PIL import Image

    given: dict[str, Any] = {"image": Image.fromarray(_given())} if model.edits else {}
    if model.edits and model.family == "flux":
        given["max_area"] = SIDE_PX**2

    def draw(seed: int) -> Any:
        picture = pipeline(
            prompt=_prompt(seed), width=SIDE_PX, height=SIDE_PX, num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(seed), **model.theirs, **given,
        ).images[0]  # fmt: skip
        return np.asarray(picture)

    return draw


def _prompt(seed: int) -> str:
    return f"a red fox in the snow, the {seed}th of many"


def _given() -> Any:
    import numpy as np

    return np.random.default_rng(3).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


if __name__ == "__main__":
    main()
