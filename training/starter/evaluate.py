# SPDX-License-Identifier: Apache-2.0
"""Stage 5: measure one or more exported models with the same prompts and seeds, and write a table.

    python -m training.starter.evaluate --data WORK/data --out WORK/evaluation  starter-100/ starter-200/

Writes evaluation.json, evaluation.md and one contact sheet a model. Only the exported folder is used, through
the stock pipeline, so the figures are those of what is shipped. Nothing is picked: seeds are fixed in
advance.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from training.starter import captions, metrics, pictures
from training.starter.data import SETS
from training.starter.dataset import Sprites
from training.starter.metrics import Features
from training.starter.pictures import Array
from training.starter.sheet import contact_sheet
from training.starter.vocabulary import (
    COLOUR_NAMES,
    HELD_OUT_PAIRS,
    PAIRS_HELD_OUT_FROM_BOTH,
    Noun,
    read_vocabulary,
    with_article,
)

STEPS, GUIDANCE = 14, 3.0
BACKGROUNDS = ("blue", "green", "red", "yellow")
TEMPLATES = (
    "pixel art of {}",
    "an icon of {}",
    "a photo of {}",
    "{}, best quality, masterpiece",
    "{}, highly detailed",
    "pixel art, {}, game asset",
)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help="pipeline folders")
    parser.add_argument("--data", type=Path, required=True, help="folder of stage 1")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--nouns", type=int, default=None, help="only the first N nouns")
    parser.add_argument("--seeds", type=int, default=2, help="pictures of each noun")
    parser.add_argument(
        "--quick", action="store_true", help="only the nouns, one seed: a look during training"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    nouns = read_vocabulary(count=arguments.nouns)
    bank = Bank.read(arguments.data, nouns)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    for folder in arguments.models:
        model = Model(folder, arguments.device)
        tests = Evaluation(model, bank, seeds=1 if arguments.quick else arguments.seeds)
        results[folder.name] = (
            tests.quick(arguments.out / folder.name)
            if arguments.quick
            else tests.run(arguments.out / folder.name)
        )
        (arguments.out / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    table = markdown(results)
    (arguments.out / "evaluation.md").write_text(table, encoding="utf-8")
    print(table)


class Model:
    """A pipeline folder, drawing in batches with one seed a picture."""

    def __init__(self, folder: Path, device: str) -> None:
        # The files are float16, in which CPUs compute slowly or not at all.
        self._pipeline = StableDiffusionPipeline.from_pretrained(folder).to(device, torch.float32)
        self._pipeline.set_progress_bar_config(disable=True)

    def draw(self, prompts: list[str], seeds: list[int], negative: str = "") -> list[Array]:
        """One picture a prompt, float32 (32, 32, 3) in [0, 1]."""
        drawn: list[Array] = []
        for start in range(0, len(prompts), 24):
            part = prompts[start : start + 24]
            # Generators live on the CPU: the same noise on every device.
            noise = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + 24]]
            result = self._pipeline(
                part,
                negative_prompt=[negative] * len(part),
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=noise,
                output_type="np",
            )
            drawn.extend(result.images.astype(np.float32))
        return drawn


@dataclass(frozen=True)
class Bank:
    """Clean renderings of every noun in every set, as drawn and mirrored, on white.

    drawings (M, 32, 32, 3) in [0, 1]; owner (M,) noun index.
    """

    nouns: list[Noun]
    sprites: Sprites
    drawings: Array
    owner: np.ndarray
    features: Features

    @classmethod
    def read(cls, data: Path, nouns: list[Noun]) -> "Bank":
        """Render the bank from stage 1's folder."""
        catalog = json.loads((data / "catalog.json").read_text(encoding="utf-8"))
        sprites = Sprites(data, nouns, catalog)
        drawn: list[Array] = []
        owner: list[int] = []
        for noun in range(len(nouns)):
            for style in plain_styles(sprites, noun):
                picture = render(sprites, noun, style)
                drawn += [picture, pictures.mirror(picture)]
                owner += [noun, noun]
        return cls(nouns, sprites, np.stack(drawn), np.array(owner), metrics.features(drawn))

    def find(self, name: str) -> int:
        """The index of a plain noun; -1 if a shortened vocabulary lacks it."""
        return next((k for k, noun in enumerate(self.nouns) if noun.name == name), -1)


def plain_styles(sprites: Sprites, noun: int) -> list[int]:
    """Those that a prompt without a style's word may be drawn in."""
    return [style for style in sprites.styles(noun) if not SETS[style].always_said]


def render(sprites: Sprites, noun: int, style: int, colour: int = -1) -> Array:
    """A sprite as a training picture: whole canvas, white paper."""
    canvas = pictures.place(sprites.sprite(noun, style, colour), pictures.SIZE_PX, 0, 0)
    return pictures.over(canvas, np.ones(3, np.float32))


@dataclass
class Evaluation:
    """All tests of one model. Each returns plain figures; shares are in [0, 1]."""

    model: Model
    bank: Bank
    seeds: int = 2
    rows: dict[str, tuple[list[Array], list[str]]] = field(default_factory=dict)  # for the contact sheets

    def run(self, out: Path) -> dict[str, Any]:
        """Everything, with contact sheets into `out`."""
        figures: dict[str, Any] = {"chance": self.chance()}
        tests: list[tuple[str, Callable[[], dict[str, float]]]] = [
            ("nouns_of_both", self.nouns_of_both),
            ("all_nouns", self.all_nouns),
            ("colours", self.colours),
            ("held_out_pairs_of_both", lambda: self.held_out(PAIRS_HELD_OUT_FROM_BOTH)),
            ("held_out_pairs_more", lambda: self.held_out(HELD_OUT_PAIRS[len(PAIRS_HELD_OUT_FROM_BOTH) :])),
            ("other_names", self.other_names),
            ("held_out_names", self.held_out_names),
            ("templates", lambda: self.templates(TEMPLATES)),
            ("held_out_templates", lambda: self.templates(captions.HELD_OUT_TEMPLATES)),
            ("negative_prompt", self.negative_prompt),
            ("backgrounds", self.backgrounds),
            ("two_objects", self.two_objects),
            ("styles", self.styles),
            ("speed", self.speed),
        ]
        for name, test in tests:
            figures[name] = test()
            print(name, figures[name], flush=True)
        self._write_sheets(out)
        return figures

    def _write_sheets(self, out: Path) -> None:
        for name, (drawn, labels) in self.rows.items():
            contact_sheet(drawn, labels, out / f"{name}.png")

    def quick(self, out: Path) -> dict[str, Any]:
        """One picture of each noun."""
        figures = {"chance": self.chance(), "all_nouns": self.all_nouns()}
        self._write_sheets(out)
        return figures

    def chance(self) -> dict[str, float]:
        """What guessing would score."""
        count = len(self.bank.nouns)
        return {"top1": 1 / count, "top5": 5 / count}

    def nouns_of_both(self) -> dict[str, float]:
        """The nouns that starter-100 was trained on, under its names for them; and variety."""
        which = [k for k, noun in enumerate(self.bank.nouns) if noun.trial_name]
        prompts = [with_article(self.bank.nouns[k].trial_name) for k in which]
        rounds = [self.model.draw(prompts, [1000 * r + k for k in which]) for r in range(self.seeds)]
        result = self._score([picture for round_ in rounds for picture in round_], which * self.seeds)
        if self.seeds > 1:
            between = [metrics.rmse(a, b) for a, b in zip(rounds[0], rounds[1], strict=True)]
            result["rmse_between_seeds"] = float(np.median(between))
            result["share_with_seeds_over_30_apart"] = float((np.array(between) > 30).mean())
        nearest: list[float] = []
        for k, picture in list(zip(which, rounds[0], strict=True))[::2]:  # every second: it is slow
            nearest.append(metrics.nearest_rmse(picture, self.bank.drawings[self.bank.owner == k]))
        result["rmse_to_nearest_training_drawing"] = float(np.median(nearest))
        return result

    def all_nouns(self) -> dict[str, float]:
        """Every noun under its plain name."""
        which = list(range(len(self.bank.nouns)))
        prompts = [with_article(noun.name) for noun in self.bank.nouns]
        rounds = [self.model.draw(prompts, [1000 * r + k for k in which]) for r in range(self.seeds)]
        drawn = [picture for round_ in rounds for picture in round_]
        result = self._score(drawn, which * self.seeds)
        self.rows["nouns"] = (rounds[0], [noun.name for noun in self.bank.nouns])
        fresh = np.tile([not noun.trial_name for noun in self.bank.nouns], self.seeds)
        place, _, _ = self._places(drawn, which * self.seeds)
        if fresh.any():
            result["top1_of_new_nouns"] = metrics.top(place[fresh], 1)
        if not fresh.all():
            result["top1_of_old_nouns"] = metrics.top(place[~fresh], 1)
        self.seed_rows()
        return result

    def seed_rows(self) -> None:
        """Eight seeds of the first 24 nouns, for the eye."""
        if self.seeds == 1:
            return
        names = [noun.name for noun in self.bank.nouns[:24] for _ in range(8)]
        seeds = [5000 + k for k in range(len(names))]
        self.rows["seeds"] = (self.model.draw([with_article(name) for name in names], seeds), names)

    def styles(self) -> dict[str, float]:
        """Every style by its word, over the first 40 nouns that all sets draw: is the nearest of the noun's
        own drawings (in all styles, as they are and mirrored) one of that style? Chance is one in as many."""
        sprites = self.bank.sprites
        nouns = [k for k in range(len(self.bank.nouns)) if len(sprites.styles(k)) == len(SETS)][:40]
        result = {"chance": 1 / len(SETS)}
        shown: tuple[list[Array], list[str]] = ([], [])
        for style, picture_set in enumerate(SETS):
            prompts = [f"{with_article(self.bank.nouns[k].name)}, {picture_set.style} style" for k in nouns]
            drawn = self.model.draw(prompts, [7000 + k for k in nouns])
            right = [
                self._nearest_style(picture, k) == style for picture, k in zip(drawn, nouns, strict=True)
            ]
            result[picture_set.style] = float(np.mean(right))
            shown[0].extend(drawn[:24])
            shown[1].extend(f"{self.bank.nouns[k].name}, {picture_set.style}" for k in nouns[:24])
        self.rows["styles"] = shown
        return result

    def _nearest_style(self, picture: Array, noun: int) -> int:
        sprites = self.bank.sprites
        distances = []
        for style in sprites.styles(noun):
            drawing = render(sprites, noun, style)
            distances.append(metrics.nearest_rmse(picture, np.stack([drawing, pictures.mirror(drawing)])))
        return int(sprites.styles(noun)[int(np.argmin(distances))])

    def colours(self) -> dict[str, float]:
        """48 random noun + colour pairs that both models were trained on."""
        rng = np.random.default_rng(5)
        nouns = [k for k, noun in enumerate(self.bank.nouns) if noun.trial_name]
        pairs: list[tuple[int, str]] = []
        while len(pairs) < 48:
            noun = int(rng.choice(nouns))
            colours = self.bank.sprites.colours(noun, self.bank.sprites.styles(noun)[0])
            pair = (noun, COLOUR_NAMES[int(rng.choice(colours))])
            if (self.bank.nouns[noun].name, pair[1]) not in HELD_OUT_PAIRS and pair not in pairs:
                pairs.append(pair)
        return self._coloured(pairs, "colours", 1)

    def held_out(self, wanted: tuple[tuple[str, str], ...]) -> dict[str, float]:
        """Noun + colour pairs that were never trained, three seeds each."""
        pairs = [(self.bank.find(noun), colour) for noun, colour in wanted if self.bank.find(noun) >= 0]
        return self._coloured(pairs, "held-out-pairs", 3) if pairs else {}

    def other_names(self) -> dict[str, float]:
        """Second names ("bike"), trained in the new model, not in starter-100 but for a few."""
        chosen = [
            (k, name)
            for k, noun in enumerate(self.bank.nouns)
            if noun.trial_name
            for name in noun.names[1:]
            if name != noun.trial_name
        ]
        return self._retrieve([with_article(name) for _, name in chosen], [k for k, _ in chosen])

    def held_out_names(self) -> dict[str, float]:
        """Names that no caption of either model used ("kitten"), of nouns that both know."""
        chosen = [
            (k, name)
            for k, noun in enumerate(self.bank.nouns)
            if noun.trial_name
            for name in noun.held_out_names
            if name != noun.trial_name
        ]
        prompts = [with_article(name) for _, name in chosen]
        drawn = self.model.draw(prompts, [300 + k for k in range(len(prompts))])
        self.rows["held-out-names"] = (drawn, [name for _, name in chosen])
        return self._score(drawn, [k for k, _ in chosen])

    def templates(self, templates: tuple[str, ...]) -> dict[str, float]:
        """Phrases around 12 nouns that both know; drift is the RMSE to the same seed without the phrase."""
        chosen = self._sample(12, 7)
        seeds = [400 + k for k in range(len(chosen))]
        plain = self.model.draw([with_article(self.bank.nouns[k].trial_name) for k in chosen], seeds)
        drawn: list[Array] = []
        labels: list[str] = []
        for template in templates:
            names = [self.bank.nouns[k].trial_name for k in chosen]
            prompts = [template.format(with_article(name), noun=name) for name in names]
            drawn += self.model.draw(prompts, seeds)
            labels += prompts
        self.rows.setdefault("templates", (plain, [self.bank.nouns[k].name for k in chosen]))
        before = self.rows["templates"]
        self.rows["templates"] = (before[0] + drawn, before[1] + labels)
        result = self._score(drawn, chosen * len(templates))
        drift = [metrics.rmse(a, b) for a, b in zip(drawn, plain * len(templates), strict=True)]
        result["drift_rmse"] = float(np.median(drift))
        return result

    def negative_prompt(self) -> dict[str, float]:
        """24 nouns with an ordinary negative prompt."""
        chosen = self._sample(24, 8)
        prompts = [with_article(self.bank.nouns[k].trial_name) for k in chosen]
        negative = "low quality, blurry, bad anatomy, watermark"
        return self._score(self.model.draw(prompts, [600 + k for k in range(len(chosen))], negative), chosen)

    def backgrounds(self) -> dict[str, float]:
        """ "on a COLOUR background" for 12 nouns: the object, and the colour word of the border."""
        chosen, drawn, labels, right = self._sample(12, 9), [], [], []
        for n, colour in enumerate(BACKGROUNDS):
            prompts = [
                f"{with_article(self.bank.nouns[k].trial_name)} on a {colour} background" for k in chosen
            ]
            part = self.model.draw(prompts, [700 + 12 * n + k for k in range(len(chosen))])
            right += [metrics.background_word(picture) in (colour, _paler(colour)) for picture in part]
            drawn += part
            labels += prompts
        self.rows["backgrounds"] = (drawn, labels)
        result = self._score(drawn, chosen * len(BACKGROUNDS))
        result["background_right"] = float(np.mean(right))
        return result

    def two_objects(self) -> dict[str, float]:
        """ "a X and a Y": each half of the picture is retrieved on its own."""
        left, right = self._sample(24, 10), self._sample(24, 11)
        names = [
            (self.bank.nouns[a].trial_name, self.bank.nouns[b].trial_name)
            for a, b in zip(left, right, strict=True)
        ]
        prompts = [f"{with_article(a)} and {with_article(b)}" for a, b in names]
        drawn = self.model.draw(prompts, [800 + k for k in range(len(prompts))])
        self.rows["two-objects"] = (drawn, [f"{a} {b}" for a, b in names])
        middle = pictures.SIZE_PX // 2
        halves = [self._places([_pad_square(p[:, :middle]) for p in drawn], left)[0]]
        halves.append(self._places([_pad_square(p[:, middle:]) for p in drawn], right)[0])
        both = (halves[0] < 5) & (halves[1] < 5)
        either = np.concatenate(halves)
        return {
            "halves_top1": metrics.top(either, 1),
            "halves_top5": metrics.top(either, 5),
            "both_top5": float(both.mean()),
        }

    def speed(self) -> dict[str, float]:
        """Five pictures one at a time on one thread, with the load of the machine: a busy one is slower."""
        self.model.draw(["a cat"], [0])
        wall, cpu = time.perf_counter(), time.process_time()
        for k in range(5):
            self.model.draw(["a cat"], [k])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall_seconds": wall / 5, "cpu_seconds": cpu / 5, "load": os.getloadavg()[0]}

    def _sample(self, count: int, seed: int) -> list[int]:
        nouns = [k for k, noun in enumerate(self.bank.nouns) if noun.trial_name]
        return [
            int(k) for k in np.random.default_rng(seed).choice(nouns, min(count, len(nouns)), replace=False)
        ]

    def _retrieve(self, prompts: list[str], wanted: list[int]) -> dict[str, float]:
        return self._score(self.model.draw(prompts, [200 + k for k in range(len(prompts))]), wanted)

    def _places(self, drawn: list[Array], wanted: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ranks by outline and colours, ranks by outline alone, and the best overlap with the wanted noun."""
        found = metrics.features(drawn)
        outline = metrics.outline_overlap(found, self.bank.features)
        look = outline + metrics.colour_overlap(found, self.bank.features)
        target = np.array(wanted)
        own = np.array([outline[k][self.bank.owner == noun].max() for k, noun in enumerate(wanted)])
        return (
            metrics.ranks(look, self.bank.owner, target),
            metrics.ranks(outline, self.bank.owner, target),
            own,
        )

    def _score(self, drawn: list[Array], wanted: list[int]) -> dict[str, float]:
        look, outline, own = self._places(drawn, wanted)
        return {
            "pictures": len(drawn),
            "top1": metrics.top(look, 1),
            "top5": metrics.top(look, 5),
            "outline_top1": metrics.top(outline, 1),
            "outline_top5": metrics.top(outline, 5),
            "outline_overlap": float(own.mean()),
        }

    def _coloured(self, pairs: list[tuple[int, str]], row: str, seeds: int) -> dict[str, float]:
        """Outline retrieval, and which of the noun's own recolours the picture is nearest to."""
        pairs = pairs * seeds
        names = [_without_colour(self.bank.nouns[k].trial_name or self.bank.nouns[k].name) for k, _ in pairs]
        prompts = [with_article(f"{colour} {name}") for (_, colour), name in zip(pairs, names, strict=True)]
        drawn = self.model.draw(prompts, [900 + k for k in range(len(prompts))])
        before = self.rows.get(row, ([], []))
        self.rows[row] = (before[0] + drawn, before[1] + [prompt.split(" ", 1)[1] for prompt in prompts])
        _, outline, _ = self._places(drawn, [noun for noun, _ in pairs])
        found = metrics.features(drawn)
        right = []
        for k, (noun, colour) in enumerate(pairs):
            examples: list[Array] = []
            words: list[str] = []
            for style in self.bank.sprites.styles(noun):
                drawing = self.bank.sprites.sprite(noun, style)
                # Held-out recolours are not among the stored sprites; here they are made afresh.
                for word in COLOUR_NAMES:
                    natural = word == self.bank.sprites.natural_colour(noun, style)
                    shown = drawing if natural else pictures.recolour(drawing, word)
                    canvas = pictures.place(shown, pictures.SIZE_PX, 0, 0)
                    examples.append(pictures.over(canvas, np.ones(3, np.float32)))
                    words.append(word)
            one = Features(found.outline[k : k + 1], found.colours[k : k + 1])
            nearest = int(metrics.colour_overlap(one, metrics.features(examples))[0].argmax())
            right.append(words[nearest] == colour)
        return {
            "pictures": len(drawn),
            "outline_top1": metrics.top(outline, 1),
            "outline_top5": metrics.top(outline, 5),
            "colour_right": float(np.mean(right)),
        }


def _paler(colour: str) -> str:
    return {"red": "pink", "brown": "orange"}.get(colour, colour)


def _without_colour(name: str) -> str:
    """starter-100's "red apple" -> "apple": its colour captions had the bare noun."""
    words = name.split()
    return " ".join(words[1:] if words[0] in COLOUR_NAMES and len(words) > 1 else words)


def _pad_square(half: Array) -> Array:
    """(32, 16, 3) -> (32, 32, 3), the picture's own background on both sides."""
    pad = (half.shape[0] - half.shape[1]) // 2
    result = np.empty((half.shape[0], half.shape[0], 3), np.float32)
    result[:] = metrics.border_colour(half)
    result[:, pad : pad + half.shape[1]] = half
    return result


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """One row a figure, one column a model."""
    models = list(results)
    lines = ["| test | figure | " + " | ".join(models) + " |", "|---|---|" + "---|" * len(models)]
    tests = list(dict.fromkeys(test for figures in results.values() for test in figures))
    for test in tests:
        keys = list(dict.fromkeys(key for figures in results.values() for key in figures.get(test, {})))
        for key in keys:
            cells = [_cell(results[model].get(test, {}).get(key)) for model in models]
            lines.append(
                f"| {test.replace('_', ' ')} | {key.replace('_', ' ')} | " + " | ".join(cells) + " |"
            )
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}" if value < 10 else f"{value:.1f}"


if __name__ == "__main__":
    main()
