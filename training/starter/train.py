# SPDX-License-Identifier: Apache-2.0
"""Stage 3: train.

    python -m training.starter.train --data WORK/data --words WORK/words --out WORK/run --images 2000000

Stop it at any time (Ctrl-C) and run the same command again: it goes on from WORK/run/last.pt with the numbers
that an uninterrupted run would have had. The learning rate warms up, stays, and decays over the last
--decay-share of the images; the state before the decay is kept as stable.pt, and that is the one to continue
from with more images.
"""

import argparse
import json
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import CLIPTokenizer

from training.starter.dataset import Batches, Mix, Sprites
from training.starter.model import SIZES, ModelConfig, TextToImage, to_latents, warm_start
from training.starter.muon import Muon
from training.starter.vocabulary import read_vocabulary

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class TrainConfig:
    """One run. Folders are strings so that a checkpoint holds plain values only."""

    data: str
    words: str
    out: str
    images: int
    init: str | None = None  # pipeline folder for a warm start
    nouns: int | None = None
    batch: int = 32
    lr: float = 1e-3  # AdamW's
    muon_ratio: float = 1.5  # Muon's rate over AdamW's
    warmup_steps: int = 100
    decay_share: float = 0.4
    ema: float = 0.998
    seed: int = 0
    seconds: float | None = None  # stop after this long, with a checkpoint, wherever the schedule stands
    device: str = "cpu"
    threads: int = 1
    workers: int = 0
    compile: bool = False
    save_every: int = 200
    by_clock: bool = False  # the learning rate falls with the seconds instead of the images


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of stage 1")
    parser.add_argument("--words", required=True, help="folder of stage 2")
    parser.add_argument("--out", required=True, help="folder for checkpoints and log.jsonl")
    parser.add_argument(
        "--images", type=int, required=True, help="pictures to show in all, earlier ones included"
    )
    parser.add_argument("--init", default=None, help="pipeline folder to start from (weights only)")
    parser.add_argument("--nouns", type=int, default=None, help="only the first N nouns")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--decay-share", type=float, default=0.4, help="last part of the images, with falling rate"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=None, help="stop after this long, with a checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, default=0, help="loader processes; a GPU needs about 12")
    parser.add_argument("--ema", type=float, default=0.998, help="share of the average kept at each step")
    parser.add_argument("--save-every", type=int, default=200, help="steps between two checkpoints")
    parser.add_argument(
        "--by-clock",
        action="store_true",
        help="let the learning rate fall with --seconds instead of --images: for a machine that is lent",
    )
    parser.add_argument("--sizes", choices=SIZES, default="small", help="which network")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    arguments = vars(parser.parse_args())
    sizes = SIZES[arguments.pop("sizes")]
    config = TrainConfig(**arguments)
    if config.by_clock and config.seconds is None:
        parser.error("--by-clock needs --seconds")
    train(config, mix=Mix(), sizes=sizes)


def share_done(images: int, config: TrainConfig, elapsed_s: float = 0.0) -> float:
    """How much of the run is over: 0 at its start, 1 at its end. By the clock it needs config.seconds, and
    raises ValueError without."""
    if not config.by_clock:
        return images / config.images
    if config.seconds is None:
        raise ValueError("by_clock needs seconds: without them the run has no end to count towards")
    return elapsed_s / max(1e-9, config.seconds)


def learning_rate_factor(step: int, images: int, config: TrainConfig, elapsed_s: float = 0.0) -> float:
    """The share of the peak rate at a step after `images` pictures: up, flat, cosine down to 2 %. By the
    clock, `elapsed_s` of this run counts instead."""
    start = 1 - config.decay_share
    past = share_done(images, config, elapsed_s) - start
    progress = min(1.0, max(0.0, past / max(1e-9, config.decay_share)))
    return min(1.0, (step + 1) / config.warmup_steps) * (
        0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * progress)))
    )


def noise_levels(count: int, generator: torch.Generator, shift: float = 1.0) -> torch.Tensor:
    """u (count,) in (0, 1]: mostly high noise, where the object is decided, and some of everything; shift as
    `ModelConfig.shift`."""
    u = torch.sigmoid(torch.randn(count, generator=generator) + 0.8 + math.log(shift))
    kind = torch.rand(count, generator=generator)
    uniform = torch.rand(count, generator=generator)
    u = torch.where(kind < 0.15, uniform, u)
    return torch.where(kind > 0.93, torch.full_like(u, 0.9999), u)  # pure noise: text alone makes the picture


def make_optimisers(model: TextToImage, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for vectors, tables and the two ends of the UNet; Muon for every other matrix and convolution."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        table = "token_embedding" in name or "position_embedding" in name or "positional_embedding" in name
        edge = "conv_in" in name or "conv_out" in name
        wide = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= 12
        (matrices if wide and not table and not edge else others).append(parameter)
    return [
        # No weight decay: it would pull the rows of unused words away from where MiniLM put them.
        torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        Muon(matrices, lr=config.lr * config.muon_ratio),
    ]


def train(config: TrainConfig, *, mix: Mix, sizes: ModelConfig) -> TextToImage:
    """Run or resume; returns the averaged model. Writes last.pt, stable.pt and log.jsonl into config.out."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device(config.device)
    tokenizer = CLIPTokenizer.from_pretrained(Path(config.words) / "tokenizer")
    catalog = json.loads((Path(config.data) / "catalog.json").read_text(encoding="utf-8"))
    sprites = Sprites(Path(config.data), read_vocabulary(count=config.nouns), catalog)
    batches = Batches(
        sprites, tokenizer, mix=mix, batch=config.batch, seed=config.seed, size_px=sizes.size_px
    )

    model, average = TextToImage(sizes, len(tokenizer)), TextToImage(sizes, len(tokenizer))
    optimisers = make_optimisers(model.to(device, memory_format=torch.channels_last), config)
    average.to(device).requires_grad_(False)
    checkpoint_file = out / "last.pt"
    if checkpoint_file.exists():
        step, images, elapsed_s = _load(checkpoint_file, model, average, optimisers, device)
        print(f"resumed at step {step}, {images} images")
    else:
        step, images, elapsed_s = 0, 0, 0.0
        if config.init is not None:
            warm_start(model, Path(config.init))
        model.set_word_table(torch.from_numpy(np.load(Path(config.words) / "table.npy")))
        average.load_state_dict(model.state_dict())

    network = torch.compile(model) if config.compile else model
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=_Steps(step, -(-max(0, config.images - images) // config.batch)),
        num_workers=config.workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if config.workers else None,
    )
    stop = _StopSignal()
    started = time.monotonic()
    total_loss, counted, before_decay = torch.zeros((), device=device), 0, True
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        _note(
            log, {"config": asdict(config), "mix": asdict(mix), "sizes": sizes.as_dict(), "from_step": step}
        )
        for pictures, ids in loader:
            run_s = time.monotonic() - started
            factor = learning_rate_factor(step, images, config, run_s)
            if before_decay and share_done(images, config, run_s) >= 1 - config.decay_share:
                before_decay = False
                # Not when resumed inside it. By the clock each run has a decay of its own.
                inside = images >= config.images * (1 - config.decay_share) + config.batch
                if config.by_clock or not inside:
                    _save(out / "stable.pt", model, average, optimisers, step, images, elapsed_s, sizes, mix)
            optimisers[0].param_groups[0]["lr"] = config.lr * factor
            optimisers[1].param_groups[0]["lr"] = config.lr * config.muon_ratio * factor
            total_loss += _step(network, model, optimisers, pictures, ids, step, config, sizes.shift)
            step, images, counted = step + 1, images + config.batch, counted + 1
            with torch.no_grad():
                # Early on the average forgets faster, or it would hold the random start for long.
                keep = min(config.ema, (1 + step) / (10 + step))
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
            wall_s = elapsed_s + time.monotonic() - started
            if step % 50 == 0:
                loss = round(float(total_loss) / counted, 4)
                total_loss, counted = torch.zeros((), device=device), 0
                _note(
                    log,
                    {"step": step, "images": images, "loss": loss, "seconds": round(wall_s), "lr": factor},
                )
            over = config.seconds is not None and time.monotonic() - started > config.seconds
            if step % config.save_every == 0 or over or stop.asked:
                _save(checkpoint_file, model, average, optimisers, step, images, wall_s, sizes, mix)
            if over or stop.asked:
                break
        else:
            wall_s = elapsed_s + time.monotonic() - started
            _save(checkpoint_file, model, average, optimisers, step, images, wall_s, sizes, mix)
    average.eval()
    return average


def _step(
    network: Any,
    model: TextToImage,
    optimisers: list[torch.optim.Optimizer],
    pictures: torch.Tensor,
    ids: torch.Tensor,
    step: int,
    config: TrainConfig,
    shift: float,
) -> torch.Tensor:
    """One update; returns the loss, detached. pictures (B, 3, H, W) in [-1, 1], ids (B, T)."""
    device = torch.device(config.device)
    # Noise is drawn on the CPU from (seed, step): the same numbers on every device and after every resume.
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    clean = to_latents(pictures)
    noise = torch.randn(clean.shape, generator=generator)
    u = noise_levels(len(clean), generator, shift)
    clean, noise, u, ids = (t.to(device, non_blocking=True) for t in (clean, noise, u, ids))
    level = u.view(-1, 1, 1, 1)
    noisy = ((1 - level) * clean + level * noise).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        prediction = network(noisy, u, ids)
    loss = torch.nn.functional.mse_loss(prediction.float(), noise - clean)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss.detach()


class _Steps(torch.utils.data.Sampler[int]):
    """Batch numbers from `first`, `count` of them."""

    def __init__(self, first: int, count: int) -> None:
        self._range = range(first, first + count)

    def __iter__(self) -> Iterator[int]:
        return iter(self._range)

    def __len__(self) -> int:
        return len(self._range)


class _StopSignal:
    """Ctrl-C and SIGTERM ask for a checkpoint and an orderly end; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.asked = False
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)


def _save(
    file: Path,
    model: TextToImage,
    average: TextToImage,
    optimisers: list[torch.optim.Optimizer],
    step: int,
    images: int,
    elapsed_s: float,
    sizes: ModelConfig,
    mix: Mix,
) -> None:
    state = {
        "format": CHECKPOINT_FORMAT,
        "step": step,
        "images": images,
        "elapsed_s": elapsed_s,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "sizes": sizes.as_dict(),
        "mix": asdict(mix),
    }
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)  # a crash while writing must not cost the previous checkpoint


def _load(
    file: Path,
    model: TextToImage,
    average: TextToImage,
    optimisers: list[torch.optim.Optimizer],
    device: torch.device,
) -> tuple[int, int, float]:
    state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    if state["format"] != CHECKPOINT_FORMAT:
        raise ValueError(
            f"{file.name} has checkpoint format {state['format']}; this code reads {CHECKPOINT_FORMAT}"
        )
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return state["step"], state["images"], state["elapsed_s"]


def _note(log: Any, entry: dict[str, Any]) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    log.write(line + "\n")
    log.flush()


if __name__ == "__main__":
    main()
