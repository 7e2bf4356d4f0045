# SPDX-License-Identifier: Apache-2.0
"""How long it takes to change the LoRAs of a model, as a share of one step, against diffusers and PEFT.

`python -m benchmarks.lora` prints one JSON object; CPU seconds on one thread, medians over `ROUNDS`. The
model is random, of Stable Diffusion 1's structure with narrow layers; the step is one of 256 x 256 pixels.
Two LoRAs of rank 16 change all its attention and feeding layers, and those of the text encoder. `first` reads
the file; the other changes find it in memory, as diffusers does when both are loaded as adapters. Diffusers'
`from file` is `load_lora_weights` after `unload_lora_weights`, which is what a server without a cache does.
"""

import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from benchmarks.random_models import MODELS
from benchmarks.worker_side import loaded

ROUNDS = 9
RANK = 16
SIDE_PX = 256
_UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
_TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")

Calls = dict[str, tuple[Callable[[], object], Callable[[], object]]]
"""By what changes: how it was before, which is not measured, and the change itself."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(json.dumps(measure(rounds), indent=1))


def measure(rounds: int) -> dict[str, Any]:
    import torch
    from diffusers import StableDiffusionPipeline

    from inglenook.workers.image.worker import quieten

    torch.set_num_threads(1)
    quieten()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = MODELS["SD 1"].write(folder / "model")
        pipeline = StableDiffusionPipeline.from_pretrained(model, local_files_only=True)
        files = [_write_lora(pipeline, folder / f"{letter}.safetensors") for letter in "ab"]
        family = loaded(model, "sd1")
        step_s = _step_s(family, rounds)
        return {
            "lora_bytes": files[0].stat().st_size,
            "layers": sum(1 for _ in _targets(pipeline)),
            "step_cpu_s": step_s,
            "ours": _figures(_ours(family, *files), step_s, rounds),
            "diffusers": _figures(_theirs(pipeline, *files), step_s, rounds),
        }


def _figures(calls: Calls, step_s: float, rounds: int) -> dict[str, dict[str, float]]:
    found = {}
    for what, (before, change) in calls.items():
        times = []
        for _ in range(rounds + 1):  # the first one warms up
            before()
            began = time.process_time()
            change()
            times.append(time.process_time() - began)
        median = statistics.median(times[1:])
        found[what] = {"ms": median * 1000, "share_of_step": median / step_s}
    return found


def _ours(family: Any, a: Path, b: Path) -> Calls:
    from inglenook.wire.image import LoraUse

    def put(*files: Path) -> Callable[[], object]:
        uses = [LoraUse(path=str(file), weight=0.8) for file in files]
        return lambda: family.loras.apply(uses)

    copies = itertools.count()
    new = a.with_name("new.safetensors")

    def another_file() -> None:
        """A file under a name that was not read before."""
        family.loras.apply([])
        new.unlink(missing_ok=True)
        shutil.copyfile(a, new)
        os.utime(new, ns=(0, next(copies)))

    return {
        "none to A, from its file": (another_file, put(new)),
        "none to A": (put(), put(a)),
        "A to B": (put(a), put(b)),
        "A and B to none": (put(a, b), put()),
        "A to A": (put(a), put(a)),
    }


def _theirs(pipeline: Any, a: Path, b: Path) -> Calls:
    def nothing() -> None:
        pipeline.unload_lora_weights()

    def load(*files: Path) -> None:
        nothing()
        for file in files:
            pipeline.load_lora_weights(file, adapter_name=file.stem)

    def only(*files: Path) -> None:
        pipeline.enable_lora()
        pipeline.set_adapters([file.stem for file in files], [0.8] * len(files))

    def both_loaded(*active: Path) -> Callable[[], object]:
        def before() -> None:
            if set(pipeline.get_list_adapters().get("unet", ())) != {a.stem, b.stem}:
                load(a, b)
            if active:
                only(*active)
            else:
                pipeline.disable_lora()

        return before

    return {
        "none to A, from its file": (nothing, lambda: load(a)),
        "A to B, from its file": (lambda: load(a), lambda: load(b)),
        "A and B to none, unloaded": (lambda: load(a, b), nothing),
        "none to A": (both_loaded(), lambda: only(a)),
        "A to B": (both_loaded(a), lambda: only(b)),
        "A and B to none": (both_loaded(a, b), pipeline.disable_lora),
        "A to A": (both_loaded(a), lambda: only(a)),
    }


def _step_s(family: Any, rounds: int) -> float:
    import torch

    from inglenook.workers.image import denoise

    with torch.inference_mode():
        size = {"width": SIDE_PX, "height": SIDE_PX}
        text = family.encode_text("a red fox", "", guidance_scale=5.0, **size)
        picture = denoise.begin(family, denoise.Plan(text, None, rounds + 1, **size), seed=1)
        times = []
        while len(times) <= rounds:
            began = time.process_time()
            denoise.advance(family, picture)
            times.append(time.process_time() - began)
    return statistics.median(times[1:])


def _targets(pipeline: Any) -> Iterator[tuple[str, Any]]:
    """The layers that a LoRA changes, by their names in its file."""
    for part, wanted in (("unet", _UNET_TARGETS), ("text_encoder", _TEXT_TARGETS)):
        for path, module in getattr(pipeline, part).named_modules():
            if path.endswith(wanted):
                yield f"{part}.{path}", module


def _write_lora(pipeline: Any, path: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, module in _targets(pipeline):
        rows, columns = module.weight.shape
        tensors[f"{name}.lora_A.weight"] = torch.randn((RANK, columns), generator=generator) / columns
        tensors[f"{name}.lora_B.weight"] = torch.randn((rows, RANK), generator=generator) / RANK
    save_file(tensors, path)
    return path


if __name__ == "__main__":
    main()
