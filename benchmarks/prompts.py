# SPDX-License-Identifier: Apache-2.0
"""Reading a prompt for the first time, and the same prompt again with another seed.

`python -m benchmarks.prompts` prints one JSON object; CPU seconds on one thread from the beginning of a Draw
until its text is read, medians over `ROUNDS`. The text encoder is random, of the size of Stable Diffusion 1's
(CLIP ViT-L, 123 million parameters); the UNet behind it is tiny and not measured.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from benchmarks.worker_side import Worker, loaded
from inglenook.wire.image import Progress
from inglenook.wire.message import Message

ROUNDS = 5
_WIDTH = 768


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(json.dumps(measure(rounds), indent=1))


def measure(rounds: int) -> dict[str, Any]:
    import torch

    from inglenook.workers.image.worker import quieten

    torch.set_num_threads(1)
    quieten()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        reader = Reader(Path(folder))
        reader.read_s("warm up")
        first, again = [], []
        for number in range(rounds):
            prompt = f"a red fox in the snow, the {number}th of many"
            first.append(reader.read_s(prompt))
            again.append(reader.read_s(prompt))
    return {
        "first_cpu_s": statistics.median(first),
        "again_cpu_s": statistics.median(again),
        "share": statistics.median(a / f for f, a in zip(first, again, strict=True)),
    }


class Reader:
    """Draws, and looks at the clock when the text is read."""

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(loaded(folder, "sd1"), send=self._hear)
        self._seed = 0
        self._read_at = 0.0

    def read_s(self, prompt: str) -> float:
        self._seed += 1
        began = time.process_time()
        self._worker.draw(
            prompt=prompt, width=64, height=64, steps=1, guidance_scale=5.0, seeds=(self._seed,)
        )
        return self._read_at - began

    def _hear(self, message: Message) -> None:
        if isinstance(message, Progress) and message.stage == "encode":
            self._read_at = time.process_time()


def _write(folder: Path) -> None:
    from diffusers import UNet2DConditionModel
    from tests import tiny_models
    from transformers import CLIPTextConfig, CLIPTextModel

    tiny = tiny_models.build("sd1")
    config = {
        **tiny.text_encoder.config.to_dict(),
        "vocab_size": tiny_models.CLIP_TOKENS,
        "hidden_size": _WIDTH,
        "intermediate_size": 4 * _WIDTH,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": _WIDTH,
    }
    tiny.text_encoder = CLIPTextModel(CLIPTextConfig(**config)).eval()
    tiny.unet = UNet2DConditionModel.from_config({**tiny.unet.config, "cross_attention_dim": _WIDTH}).eval()
    tiny.pipeline().save_pretrained(folder, safe_serialization=True)


if __name__ == "__main__":
    main()
