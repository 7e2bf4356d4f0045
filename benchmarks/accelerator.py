# SPDX-License-Identifier: Apache-2.0
"""Models of real size on a GPU: our worker against diffusers' pipeline, plain and compiled.

    python -m benchmarks.accelerator --out benchmarks/accelerator.json
    python -m benchmarks.accelerator --models sd15 flux --no-compile
    python -m benchmarks.accelerator --tiny --device cpu        the same code in seconds, to see that it works

`make benchmarks` does not run it: it needs a GPU, 40 GB of whose memory go to FLUX, and some minutes. What
`--out` wrote last is shown in docs/benchmarks.md, with the device it was measured on.

The weights are random and made on the device; nothing is downloaded. Both sides hold the same modules, draw
the same seeds with the same scheduler, and give finished pixels; prompts differ from picture to picture.
Steps a second come from the difference between a long and a short run, so that reading the prompt and
decoding do not count in them; seconds a picture hold everything. On a GPU these are seconds by the wall,
waited for; on a CPU they are CPU seconds. Compiled is what diffusers recommends: `regional` compiles the
repeated blocks with `fullgraph=True`, `full` the whole network with `max-autotune`; UNets and VAEs work in
`channels_last` then. `worker` is what our own setting `images.compile` does, in its mode `default`. Each
happens in the shared modules, so it speeds up both.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

import torch

from benchmarks.worker_side import Worker
from inglenook.workers.image.device import Device
from inglenook.workers.image.families import clip, t5
from inglenook.workers.image.families.family import Family
from inglenook.workers.image.families.ldm import CONFIGS
from inglenook.workers.image.families.registry import DTYPES, FAMILY_CLASSES
from inglenook.workers.image.weights import read_json
from inglenook.workers.image.worker import quieten

ROUNDS = 2
SHORT = 4
"""The short run has a fourth of the steps."""

PREVIEWS = 12
"""As many as the page asks for (`web/form.py`; this runs where only the worker's packages are)."""

Draw = Callable[[int, int], Any]
"""Seed, steps → uint8 (height, width, 3)."""

_TINY_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
_TINY_VAE = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
_TINY_UNET: Mapping[str, Any] = {"layers_per_block": 1, "attention_head_dim": 2}


@dataclass(frozen=True)
class Model:
    """Attributes:
    family: as in `wire/families.py`.
    pipeline: diffusers' class.
    dtype: unless another is asked for.
    scheduler: of both sides; None for the model's own.
    guidance: the scale.
    tiny: part → what its configuration says differently with `--tiny`.
    """

    family: str
    pipeline: str
    side_px: int
    steps: int
    dtype: str
    scheduler: str | None
    guidance: float
    tiny: Mapping[str, Mapping[str, Any]]

    @property
    def network(self) -> str:
        return "transformer" if self.family == "flux" else "unet"


MODELS: Mapping[str, Model] = {
    "sd15": Model(
        "sd1", "StableDiffusionPipeline", 512, 24, "float16", "euler", 7.5,
        {
            "unet": {**_TINY_UNET, "block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 32},
            "vae": _TINY_VAE,
            "text_encoder": _TINY_CLIP,
        },
    ),
    # Its VAE overflows in float16; how the two sides mend that does not go together in shared modules.
    "sdxl": Model(
        "sdxl", "StableDiffusionXLPipeline", 1024, 24, "bfloat16", "euler", 6.0,
        {
            "unet": {
                **_TINY_UNET, "block_out_channels": (32, 32, 64), "cross_attention_dim": 64,
                "transformer_layers_per_block": (1, 1, 2), "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 32 + 6 * 8,
            },
            "vae": _TINY_VAE,
            "text_encoder": _TINY_CLIP,
            "text_encoder_2": {**_TINY_CLIP, "projection_dim": 32},
        },
    ),
    "flux": Model(
        "flux", "FluxPipeline", 1024, 28, "bfloat16", None, 3.5,
        {
            "transformer": {
                "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "attention_head_dim": 32,
                "axes_dims_rope": (4, 14, 14), "joint_attention_dim": 64, "pooled_projection_dim": 32,
            },
            "vae": _TINY_VAE,
            "text_encoder": _TINY_CLIP,
            "text_encoder_2": {"d_model": 64, "d_kv": 32, "d_ff": 64, "num_heads": 2, "num_layers": 2},
        },
    ),
}  # fmt: skip


def main() -> None:
    args = _arguments()
    quieten()
    if args.device == "cpu":
        torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": _machine(args.device), "models": {}}
    for name in args.models:
        for kind, figures in _measured(MODELS[name], args):
            found["models"].setdefault(name, {})[kind] = figures
            print(json.dumps({name: {kind: figures}}), file=sys.stderr, flush=True)
            if args.out is not None:
                args.out.write_text(json.dumps(found, indent=1) + "\n")
        Device(args.device).release()
    print(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=DTYPES, help="unless each model's own")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, help="unless each model's own; at least 2")
    parser.add_argument("--compile", choices=("regional", "full", "worker"), default="regional")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled runs out")
    parser.add_argument("--tiny", action="store_true", help="narrow layers and small pictures")
    parser.add_argument("--out", type=Path, help="write the JSON there too, after every part")
    return parser.parse_args()


def _machine(device: str) -> dict[str, str]:
    import diffusers

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    clock = "CPU seconds, one thread" if device == "cpu" else "seconds by the wall"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "device": name,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "clock": clock,
    }


def _measured(model: Model, args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Both sides as they are, ours with previews, then both compiled."""
    dtype = args.dtype or ("float32" if args.device == "cpu" else model.dtype)
    modules = _modules(model, dtype, args.device, tiny=args.tiny)
    family = _family(model, modules, dtype, args.device)
    side_px = 64 if args.tiny else model.side_px
    steps = args.steps or (SHORT if args.tiny else model.steps)
    settings = {"dtype": dtype, "side_px": side_px, "steps": steps, "scheduler": model.scheduler or "own"}
    sides = {
        "ours": _ours(model, family, side_px),
        "diffusers": _theirs(model, family, modules, args.device, side_px),
    }
    with _clock(args.device) as now:
        yield "as it is", {**settings, **_compare(sides, steps, args, now)}
        yield "previews", {**settings, **_previews(model, family, side_px, steps, args, now)}
        if not args.no_compile:
            _compile(model, family, modules, args.compile)
            figures = _compare(sides, steps, args, now)
            yield "compiled", {**settings, "compile": args.compile, **figures}
    if args.device.startswith("cuda"):
        torch.compiler.reset()


def _compare(
    sides: Mapping[str, Draw], steps: int, args: argparse.Namespace, now: Callable[[], float]
) -> dict[str, Any]:
    short = max(1, steps // SHORT)
    first_s, pictures = {}, {}
    for name, draw in sides.items():
        began = now()
        pictures[name] = draw(0, steps).astype(int)
        first_s[name] = now() - began
    long_s: dict[str, list[float]] = {name: [] for name in sides}
    short_s: dict[str, list[float]] = {name: [] for name in sides}
    peaks = dict.fromkeys(sides, 0.0)
    for seed in range(1, args.rounds + 1):  # in turn, so that a busy moment of the machine hits both
        for name, draw in sides.items():
            for times, count in ((long_s, steps), (short_s, short)):
                _reset_peak(args.device)
                began = now()
                draw(seed, count)
                times[name].append(now() - began)
                peaks[name] = max(peaks[name], _peak_gb(args.device))
    per_step = {
        name: max(1e-9, statistics.median(long_s[name]) - statistics.median(short_s[name])) / (steps - short)
        for name in sides
    }
    return {
        **{
            name: {
                "steps_per_s": 1 / per_step[name],
                "picture_s": statistics.median(long_s[name]),
                "first_picture_s": first_s[name],
                "peak_gb": peaks[name] or None,
            }
            for name in sides
        },
        "speed_ratio": per_step["diffusers"] / per_step["ours"],
        "picture_ratio": statistics.median(long_s["diffusers"]) / statistics.median(long_s["ours"]),
        "mean_difference_of_255": float(abs(pictures["ours"] - pictures["diffusers"]).mean()),
        "largest_difference_of_255": int(abs(pictures["ours"] - pictures["diffusers"]).max()),
    }


def _previews(
    model: Model,
    family: Family,
    side_px: int,
    steps: int,
    args: argparse.Namespace,
    now: Callable[[], float],
) -> dict[str, Any]:
    """A picture with previews against one without, ours both, as often as the page asks for them."""
    every = max(1, steps // (PREVIEWS + 1))
    times: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "with": _ours(model, family, side_px, preview_every=every, previews=Path(folder)),
            "without": _ours(model, family, side_px),
        }
        for seed in range(2 * args.rounds + 1):
            for name, draw in sides.items():
                began = now()
                draw(seed, steps)
                times[name].append(now() - began)
    shares = [a / b - 1 for a, b in zip(times["with"][1:], times["without"][1:], strict=True)]
    return {"preview_every": every, "share_of_picture": statistics.median(shares)}


@contextmanager
def _clock(device: str) -> Iterator[Callable[[], float]]:
    """Seconds by the wall once the device has done all it was given; CPU seconds on a CPU."""
    if device == "cpu":
        yield time.process_time
        return
    wait = torch.mps.synchronize if device == "mps" else torch.cuda.synchronize

    def now() -> float:
        wait()
        return time.perf_counter()

    yield now


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gb(device: str) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.startswith("cuda") else 0.0


def _ours(
    model: Model, family: Family, side_px: int, *, preview_every: int = 0, previews: Path | None = None
) -> Draw:
    worker = Worker(family, previews=previews)

    def draw(seed: int, steps: int) -> Any:
        return worker.draw(
            prompt=_prompt(seed), width=side_px, height=side_px, steps=steps, seeds=(seed,),
            guidance_scale=model.guidance, scheduler=model.scheduler, preview_every=preview_every,
        )  # fmt: skip

    return draw


def _theirs(
    model: Model, family: Family, modules: Mapping[str, torch.nn.Module], device: str, side_px: int
) -> Draw:
    import diffusers

    tokenizers = {part.replace("text_encoder", "tokenizer"): one for part, one in _tokenizers(model).items()}
    more: dict[str, Any] = {}
    if model.family == "sd1":
        more = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if model.family == "sdxl":
        more = {"add_watermarker": False}
    pipeline = getattr(diffusers, model.pipeline)(
        **modules, **tokenizers, scheduler=family.schedulers.make(model.scheduler), **more
    )
    pipeline.set_progress_bar_config(disable=True)

    def draw(seed: int, steps: int) -> Any:
        pictures = pipeline(
            prompt=_prompt(seed), width=side_px, height=side_px, num_inference_steps=steps,
            guidance_scale=model.guidance, generator=torch.Generator().manual_seed(seed), output_type="np",
        ).images  # fmt: skip
        return (pictures[0] * 255).round().astype("uint8")

    return draw


def _prompt(seed: int) -> str:
    return f"a red fox in the snow, the {seed}th of many"


def _compile(model: Model, family: Family, modules: Mapping[str, Any], how: str) -> None:
    network = modules[model.network]
    if how == "worker":
        family.compile("default", None)
        return
    if model.network == "unet":
        network.to(memory_format=torch.channels_last)
        modules["vae"].to(memory_format=torch.channels_last)
    if how == "regional":
        network.compile_repeated_blocks(fullgraph=True)
    else:
        network.compile(mode="max-autotune", fullgraph=True)


def _family(model: Model, modules: Mapping[str, torch.nn.Module], dtype: str, device: str) -> Family:
    """Our model over the modules, which stay where they are."""
    family: Any = FAMILY_CLASSES[model.family]
    made: Family = family(
        modules=dict(modules),
        tokenizers=_tokenizers(model),
        scheduler=read_json(CONFIGS / model.family / "scheduler" / "scheduler_config.json"),
        options={},
        variant="",
        dtype=DTYPES[dtype],
        device=Device(device),
    )
    made.spare(0)
    return made


def _tokenizers(model: Model) -> dict[str, Any]:
    first = {"text_encoder": clip.tokenizer(pad=clip.END)}
    match model.family:
        case "sdxl":
            return {**first, "text_encoder_2": clip.tokenizer(pad="!")}
        case "flux":
            return {**first, "text_encoder_2": t5.tokenizer()}
        case _:
            return first


def _modules(model: Model, dtype: str, device: str, *, tiny: bool) -> dict[str, Any]:
    """All networks of the model by diffusers' names, random, on the device."""
    import diffusers
    import transformers

    def config(part: str, place: Path) -> dict[str, Any]:
        return {**read_json(place / "config.json"), **(model.tiny[part] if tiny else {})}

    own = CONFIGS / model.family
    network = {"unet": diffusers.UNet2DConditionModel, "transformer": diffusers.FluxTransformer2DModel}
    torch.manual_seed(0)
    with _made_on(device, DTYPES[dtype]):
        modules: dict[str, Any] = {
            model.network: network[model.network].from_config(config(model.network, own / model.network)),
            "vae": diffusers.AutoencoderKL.from_config(config("vae", own / "vae")),
        }
        texts = own if model.family != "flux" else CONFIGS / "sd1"  # FLUX reads the same CLIP
        modules["text_encoder"] = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(**config("text_encoder", texts / "text_encoder"))
        )
        if model.family == "sdxl":
            modules["text_encoder_2"] = transformers.CLIPTextModelWithProjection(
                transformers.CLIPTextConfig(**config("text_encoder_2", own / "text_encoder_2"))
            )
        if model.family == "flux":
            modules["text_encoder_2"] = transformers.T5EncoderModel(
                transformers.T5Config(**config("text_encoder_2", CONFIGS / "t5"))
            )
    return {name: module.to(DTYPES[dtype]).eval().requires_grad_(False) for name, module in modules.items()}


@contextmanager
def _made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """New modules are made there, in that precision, without a copy in host memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


if __name__ == "__main__":
    main()
