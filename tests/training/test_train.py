# SPDX-License-Identifier: Apache-2.0
"""Training, resuming and export on a network small enough for seconds."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (the pictures extra)")
pytest.importorskip("diffusers", reason="training needs diffusers (the pictures extra)")
pytest.importorskip("transformers", reason="training needs transformers (the pictures extra)")

from diffusers import StableDiffusionPipeline  # noqa: E402  # after the skips
from training.starter import captions, muon, train, words  # noqa: E402
from training.starter.data import SETS  # noqa: E402
from training.starter.dataset import Batches, Mix, Sprites  # noqa: E402
from training.starter.export import export, write_card  # noqa: E402
from training.starter.model import SIZES as NETWORKS  # noqa: E402
from training.starter.model import ModelConfig, identity_vae, sampler, to_latents  # noqa: E402
from training.starter.vocabulary import COLOUR_NAMES, HELD_OUT_PAIRS, read_vocabulary  # noqa: E402
from transformers import CLIPTokenizer  # noqa: E402

pytestmark = pytest.mark.slow  # each costs seconds; the everyday tests draw less

SIZES = ModelConfig(
    channels=(8, 16),
    attention=(False, True),
    norm_groups=4,
    time_width=16,
    text_width=16,
    text_heads=2,
    tokens=24,
)
NOUNS = 12
STYLE_BLUE = (80, 115, 150, 185, 220)
"""The blue of each set's invented sprites: it tells which set a picture is from."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder with invented sprites: coloured squares, held-out pairs left out as stage 1 does."""
    folder = tmp_path_factory.mktemp("data")
    nouns = read_vocabulary(count=NOUNS)
    rgba: list[np.ndarray] = []
    labels: list[tuple[int, int, int]] = []
    for index, style, colour in product(range(NOUNS), range(len(SETS)), range(-1, len(COLOUR_NAMES))):
        if colour >= 0 and (nouns[index].name, COLOUR_NAMES[colour]) in HELD_OUT_PAIRS:
            continue
        sprite = np.zeros((64, 64, 4), np.uint8)
        sprite[8 + index : 56, 8:56] = (20 * index, 20 * (colour + 1), STYLE_BLUE[style], 255)
        rgba.append(sprite)
        labels.append((index, style, colour))
    noun_of, style_of, colour_of = np.array(labels, np.int16).T
    np.savez(folder / "sprites.npz", rgba=np.stack(rgba), noun=noun_of, style=style_of, colour=colour_of)
    catalog = {
        "nouns": [noun.name for noun in nouns],
        "styles": [item.package for item in SETS],
        "natural_colour": {f"{n}/{style}": "gray" for n, style in product(range(NOUNS), range(len(SETS)))},
        "keywords": {noun.name: [] for noun in nouns},
        "licences": [],
    }
    (folder / "catalog.json").write_text(json.dumps(catalog), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def words_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of the caption words, and a random table."""
    folder = tmp_path_factory.mktemp("words")
    tokenizer = words.make_tokenizer(sorted(words.caption_words({})), [])
    words.save_tokenizer(tokenizer, folder / "tokenizer")
    table = np.random.default_rng(0).normal(size=(len(tokenizer), SIZES.text_width)).astype(np.float32)
    np.save(folder / "table.npy", table)
    return folder


@pytest.fixture(scope="module")
def batches(data: Path, words_folder: Path) -> Batches:
    """The batches of a run."""
    catalog = json.loads((data / "catalog.json").read_text(encoding="utf-8"))
    sprites = Sprites(data, read_vocabulary(count=NOUNS), catalog)
    tokenizer = CLIPTokenizer.from_pretrained(words_folder / "tokenizer")
    return Batches(sprites, tokenizer, mix=Mix(), batch=16, seed=0)


def shown_style(picture: np.ndarray, noun: str) -> int:
    """The set that a picture (H, W, 3) in [0, 1] shows a noun from: red tells the noun, blue the set."""
    red = 20 * [one.name for one in read_vocabulary(count=NOUNS)].index(noun)
    of_noun = np.abs(255 * picture[..., 0] - red) < 1.5
    counts = [(of_noun & (np.abs(255 * picture[..., 2] - blue) < 1.5)).sum() for blue in STYLE_BLUE]
    assert max(counts) > 0, f"no {noun} in the picture"
    return int(np.argmax(counts))


@pytest.fixture
def config(data: Path, words_folder: Path, tmp_path: Path) -> train.TrainConfig:
    """Six steps of four pictures."""
    return train.TrainConfig(
        data=str(data),
        words=str(words_folder),
        out=str(tmp_path / "run"),
        images=24,
        nouns=NOUNS,
        batch=4,
        save_every=3,
    )


def test_held_out_pairs_never_appear_in_training(batches: Batches) -> None:
    subjects = [s for step in range(150) for example in batches.examples(step) for s in example.subjects]
    shown = {(subject.noun, subject.colour) for subject in subjects}
    assert {("cat", "red"), ("banana", "blue")} <= shown, "other pairs do appear"
    assert not shown & set(HELD_OUT_PAIRS)


def test_the_word_of_a_style_is_said_only_of_pictures_in_that_style(batches: Batches) -> None:
    examples = [e for step in range(60) for e in batches.examples(step) if len(e.subjects) == 1]
    silent, spoken = set(), set()
    for example in examples:
        style = shown_style(example.picture, example.subjects[0].noun)
        said = re.findall(r"(\w+) style", example.caption)
        if said:
            assert said == [SETS[style].style], example.caption
            spoken.add(style)
        elif example.caption:
            silent.add(style)
    assert spoken == set(range(len(SETS))), "every style's word is taught"
    assert silent == {style for style, one in enumerate(SETS) if not one.always_said}


def test_two_objects_are_never_in_a_style_that_must_be_said(batches: Batches) -> None:
    pairs = [e for step in range(80) for e in batches.examples(step) if len(e.subjects) == 2]
    assert len(pairs) > 20
    for example in pairs:
        halves = np.split(example.picture, 2, axis=1)
        for half, subject in zip(halves, example.subjects, strict=True):
            assert not SETS[shown_style(half, subject.noun)].always_said, example.caption


def test_a_larger_network_gets_larger_pictures_of_the_same_examples(batches: Batches) -> None:
    large = Batches(batches.sprites, batches.tokenizer, mix=Mix(), batch=16, seed=0, size_px=64)
    pictures, _ = large[0]
    assert pictures.shape == (16, 3, 64, 64)
    covered = [
        [(e.picture < 0.99).any(-1).mean() for s in range(30) for e in b.examples(s)]
        for b in (batches, large)
    ]
    assert np.mean(covered[1]) == pytest.approx(np.mean(covered[0]), abs=0.05), (
        "objects grow with the picture"
    )


def test_larger_pictures_are_trained_and_sampled_with_more_noise() -> None:
    assert [NETWORKS[name].shift for name in ("small", "wide", "large")] == [1, 1, 2]
    plain, shifted = (
        train.noise_levels(4000, torch.Generator().manual_seed(0), shift) for shift in (1.0, 2.0)
    )
    assert shifted.mean() > plain.mean() + 0.05
    assert shifted.min() > 0
    assert shifted.max() <= 1
    assert sampler(2.0).config.flow_shift == 2 * sampler().config.flow_shift


def test_a_batch_depends_on_seed_and_number_only(batches: Batches) -> None:
    pictures, ids = batches[7]
    batches[3]
    again, ids_again = batches[7]
    assert torch.equal(pictures, again)
    assert torch.equal(ids, ids_again)
    assert pictures.shape == (16, 3, 32, 32)
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    assert not torch.equal(pictures, batches[8][0])


def test_every_caption_word_is_one_token_and_longest_captions_fit(batches: Batches) -> None:
    tokenizer = batches.tokenizer
    assert [w for w in sorted(captions.all_words()) if len(tokenizer.tokenize(w)) != 1 and w.isalpha()] == []
    texts = [example.caption for step in range(60) for example in batches.examples(step)]
    assert max(len(tokenizer(text).input_ids) for text in texts) <= words.TOKENS


def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(config: train.TrainConfig) -> None:
    whole = train.train(config, mix=Mix(), sizes=SIZES)
    broken = replace(config, out=config.out + "-broken")
    train.train(replace(broken, seconds=0.0), mix=Mix(), sizes=SIZES)  # stops after its first step
    state = torch.load(Path(broken.out) / "last.pt", weights_only=True)
    assert state["step"] == 1
    resumed = train.train(broken, mix=Mix(), sizes=SIZES)
    assert torch.load(Path(broken.out) / "last.pt", weights_only=True)["images"] == 24
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_state_before_the_decay_is_kept(config: train.TrainConfig) -> None:
    train.train(replace(config, decay_share=0.5), mix=Mix(), sizes=SIZES)
    assert torch.load(Path(config.out) / "stable.pt", weights_only=True)["images"] == 12


def test_the_learning_rate_warms_up_stays_and_decays(config: train.TrainConfig) -> None:
    plan = replace(config, images=1000, warmup_steps=10, decay_share=0.4)
    factors = [
        train.learning_rate_factor(step, images, plan) for step, images in ((0, 0), (20, 500), (99, 1000))
    ]
    assert factors == pytest.approx([0.1, 1.0, 0.02])


def test_by_the_clock_the_learning_rate_falls_with_the_seconds(config: train.TrainConfig) -> None:
    plan = replace(config, images=10**8, warmup_steps=10, decay_share=0.4, by_clock=True, seconds=100.0)
    factors = [train.learning_rate_factor(50, 12_800, plan, seconds) for seconds in (0, 59, 80, 100, 130)]
    assert factors == pytest.approx([1.0, 1.0, 0.51, 0.02, 0.02])
    with pytest.raises(ValueError, match="needs seconds"):
        train.learning_rate_factor(50, 12_800, replace(plan, seconds=None), 1.0)


def test_by_the_clock_the_state_before_the_decay_is_kept(config: train.TrainConfig) -> None:
    train.train(replace(config, by_clock=True, seconds=0.0), mix=Mix(), sizes=SIZES)
    train.train(replace(config, by_clock=True, seconds=600.0, decay_share=1.0), mix=Mix(), sizes=SIZES)
    assert torch.load(Path(config.out) / "stable.pt", weights_only=True)["images"] == config.batch


@pytest.mark.parametrize("side", [32, 64])
def test_an_exported_folder_gets_the_card_of_its_size_and_the_notices(side: int, tmp_path: Path) -> None:
    write_card(side, tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"**{side} x {side} only**" in card
    for notice in ("Copyright (c) Microsoft Corporation", "Copyright 2013 Google", "Mu-An Chiou"):
        assert notice in card
    assert all(item.package in card for item in SETS), "every set of pictures is named"
    assert json.loads((tmp_path / "inglenook.json").read_text(encoding="utf-8"))["image"]["native_px"] == side


def test_no_card_is_invented_for_a_size_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_card(48, tmp_path)


def test_an_exported_model_draws_what_the_trained_one_draws(
    config: train.TrainConfig, tmp_path: Path
) -> None:
    trained = train.train(config, mix=Mix(), sizes=SIZES)
    export(Path(config.out) / "last.pt", Path(config.words), tmp_path / "exported")
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "exported").to(torch.float32)
    loaded.set_progress_bar_config(disable=True)
    ids = torch.tensor(loaded.tokenizer(["a cat"], padding="max_length").input_ids)
    noisy, u = torch.randn(1, 4, 32, 32), torch.tensor([0.7])
    with torch.no_grad():
        ours = trained(noisy, u, ids)
        theirs = loaded.unet(noisy, 1000 * u, loaded.text_encoder(ids).last_hidden_state).sample
    assert (ours - theirs).abs().max() < 0.02, "equal but for float16 files"
    picture = loaded("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (32, 32)
    assert loaded.tokenizer.model_max_length == words.TOKENS


def test_the_vae_passes_pixels_through() -> None:
    vae = identity_vae()
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(pictures).latents
        restored = vae.decode(latents).sample
    assert torch.allclose(latents * vae.config.scaling_factor, to_latents(pictures), atol=1e-5)
    assert torch.allclose(restored, pictures, atol=1e-2)


def test_muon_makes_updates_nearly_orthogonal() -> None:
    matrix = torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(muon.orthogonalise(matrix, steps=5))
    assert values.min() > 0.5
    assert values.max() < 1.5
