# SPDX-License-Identifier: Apache-2.0
"""Our denoising loop against diffusers' own pipeline call: same model, same steps, one thread, in turn.

Two models: the one that ships (32 x 32, where overhead shows most) and a random one of SD 1's structure with
narrow layers (256 x 256). `python -m benchmarks.step_loop` prints one JSON object; a ratio above 1 means that
ours is faster. Both make finished pixels; neither writes a file. CPU seconds, so that a busy machine does not
blur them.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

ROUNDS = 15


def main() -> None:
    print(json.dumps(measure(), indent=1))


def measure() -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "random-sd1"
        _write_random_sd1(wide)
        return {
            "starter, 32x32, 14 steps": _compare(_starter(), side_px=32, steps=14, rounds=ROUNDS),
            "random SD 1 structure, 256x256, 8 steps": _compare(wide, side_px=256, steps=8, rounds=7),
        }


def _starter() -> Path:
    import inglenook.catalog as catalog

    builtin = Path(catalog.__file__).parent / "builtin"
    return next(folder for folder in sorted(builtin.iterdir()) if (folder / "model_index.json").exists())


def _compare(model: Path, *, side_px: int, steps: int, rounds: int) -> dict[str, float]:
    theirs, ours = _pipeline(model, side_px, steps), _worker(model, side_px, steps)
    theirs(0)
    ours(0)
    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    for seed in range(rounds):  # in turn, so that a busy moment of the machine hits both
        for name, draw in (("theirs", theirs), ("ours", ours)):
            began = time.process_time()
            draw(seed)
            times[name].append(time.process_time() - began)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "diffusers_cpu_s": medians["theirs"],
        "ours_cpu_s": medians["ours"],
        "speed_ratio": statistics.median(a / b for a, b in zip(times["theirs"], times["ours"], strict=True)),
    }


def _pipeline(model: Path, side_px: int, steps: int) -> Callable[[int], None]:
    import torch
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)

    def draw(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        pipeline(
            "a red fox", height=side_px, width=side_px, num_inference_steps=steps, guidance_scale=3.0,
            generator=generator,
        )  # fmt: skip

    return draw


def _worker(model: Path, side_px: int, steps: int) -> Callable[[int], None]:
    from inglenook.base.clock import SystemClock
    from inglenook.wire.image import Draw, Drawn, LoadImageModel
    from inglenook.workers.image.device import Device
    from inglenook.workers.image.drawing import Studio
    from inglenook.workers.image.families.registry import load_family
    from inglenook.workers.image.spool import Spool

    request = LoadImageModel(
        path=str(model), layout="folder", family="sd1", device="cpu", dtype="float32", spool=""
    )
    family = load_family(request, Device("cpu"))

    class Nowhere(Spool):
        def write(self, stem: str, pixels: Any) -> str:
            return stem

    studio = Studio(
        family=family,
        saving=0,
        spool=Nowhere(Path()),
        send=lambda message: None,
        should_stop=lambda: False,
        clock=SystemClock(),
    )

    def draw(seed: int) -> None:
        last = studio.execute(
            Draw(
                job="j", prompt="a red fox", width=side_px, height=side_px, steps=steps, guidance_scale=3.0,
                seeds=(seed,),
            )
        )  # fmt: skip
        assert isinstance(last, Drawn), last

    return draw


def _write_random_sd1(folder: Path) -> None:
    import torch
    from diffusers import (
        AutoencoderKL,
        DPMSolverMultistepScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )

    starter = StableDiffusionPipeline.from_pretrained(_starter(), dtype=torch.float32, local_files_only=True)
    torch.manual_seed(0)
    width = starter.text_encoder.config.hidden_size
    StableDiffusionPipeline(
        tokenizer=starter.tokenizer,
        text_encoder=starter.text_encoder,
        unet=UNet2DConditionModel(
            sample_size=32,
            block_out_channels=(64, 128, 256, 256),
            cross_attention_dim=width,
            attention_head_dim=8,
        ),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 64, 64, 64),
            latent_channels=4,
        ),
        scheduler=DPMSolverMultistepScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
