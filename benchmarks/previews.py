# SPDX-License-Identifier: Apache-2.0
"""What a preview costs beside the step that it shows.

`python -m benchmarks.previews` prints one JSON object; CPU seconds on one thread, medians. A preview's cost
hangs on the size of the latents alone: it is measured whole, from the latents to the finished PNG on disk,
for pictures of `SIDE_PX`. The step beside it is one of a random network that is much smaller than a real one
(`parameters`; Stable Diffusion 1 has 860 million, FLUX 12 billion), so the shares are upper bounds.
How often previews come is what the page asks for, in a request of the family's own number of steps.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from benchmarks.random_models import MODELS, Model
from benchmarks.worker_side import loaded
from inglenook.images.request import Drawing
from inglenook.images.work import preview_every
from inglenook.web.form import PREVIEWS
from inglenook.wire.families import FAMILIES

SIDE_PX = 512
STEPS_MEASURED = 3
PREVIEWS_MEASURED = 30
MEASURED = ("SD 1", "SD 2", "SDXL", "SD 3", "FLUX dev", "Qwen-Image")


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS_MEASURED
    print(json.dumps(measure(steps), indent=1))


def measure(steps: int) -> dict[str, Any]:
    import torch

    from inglenook.workers.image.worker import quieten

    torch.set_num_threads(1)
    quieten()
    return {title: _measured(MODELS[title], steps) for title in MEASURED}


def _measured(model: Model, steps: int) -> dict[str, float]:
    import torch

    from inglenook.workers.image import denoise
    from inglenook.workers.image.preview import preview_pixels
    from inglenook.workers.image.spool import Spool

    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        family = loaded(model.write(folder), model.family, model.variant)
        size = {"width": SIDE_PX, "height": SIDE_PX}
        text = family.encode_text("a red fox", "", guidance_scale=model.guidance, **size)
        picture = denoise.begin(family, denoise.Plan(text, None, steps + 1, **size), seed=1)
        denoise.advance(family, picture)  # the first one also warms up
        step_s = _median_s(lambda: denoise.advance(family, picture), steps)
        map_s = _median_s(family.preview_map, 1)
        spool = Spool(folder)

        def show() -> None:
            spool.write("preview", preview_pixels(family.preview_map(), denoise.believed(picture)))

        show()
        preview_s = _median_s(show, PREVIEWS_MEASURED)
        every = _steps_to_a_preview(model)
        return {
            "parameters": sum(p.numel() for p in family._parts.modules[model.network].parameters()),
            "step_cpu_s": step_s,
            "preview_cpu_s": preview_s,
            "preview_every": every,
            "share_of_step": preview_s / step_s / every,
            "map_once_cpu_s": map_s,
        }


def _steps_to_a_preview(model: Model) -> int:
    """As a request of the page with the family's own number of steps has it."""

    class Request:
        previews = PREVIEWS
        steps = FAMILIES[model.family].steps

    return preview_every(cast("Drawing", Request))


def _median_s(call: Callable[[], object], times: int) -> float:
    measured = []
    for _ in range(times):
        began = time.process_time()
        call()
        measured.append(time.process_time() - began)
    return statistics.median(measured)


if __name__ == "__main__":
    main()
