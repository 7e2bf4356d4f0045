# SPDX-License-Identifier: Apache-2.0
"""Training, resuming and export on a network small enough for seconds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (the pictures extra)")
pytest.importorskip("diffusers", reason="training needs diffusers (the pictures extra)")
pytest.importorskip("transformers", reason="training needs transformers (the pictures extra)")

from diffusers import StableDiffusionPipeline  # noqa: E402  # after the skips
from training.starter import captions, muon, train, words  # noqa: E402
from training.starter.dataset import Batches, Mix, Sprites  # noqa: E402
from training.starter.export import export  # noqa: E402
from training.starter.model import ModelConfig, identity_vae, to_latents  # noqa: E402
from training.starter.vocabulary import COLOUR_NAMES, HELD_OUT_PAIRS, read_vocabulary  # noqa: E402
from transformers import CLIPTokenizer  # noqa: E402

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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder with invented sprites: coloured squares, held-out pairs left out as stage 1 does."""
    folder = tmp_path_factory.mktemp("data")
    nouns = read_vocabulary(count=NOUNS)
    rgba: list[np.ndarray] = []
    labels: list[tuple[int, int, int]] = []
    for index, noun in enumerate(nouns):
        for colour in range(-1, len(COLOUR_NAMES)):
            if colour >= 0 and (noun.name, COLOUR_NAMES[colour]) in HELD_OUT_PAIRS:
                continue
            sprite = np.zeros((64, 64, 4), np.uint8)
            sprite[8 + index : 56, 8:56] = (20 * index, 20 * (colour + 1), 200, 255)
            rgba.append(sprite)
            labels.append((index, 0, colour))
    noun_of, style_of, colour_of = np.array(labels, np.int16).T
    np.savez(folder / "sprites.npz", rgba=np.stack(rgba), noun=noun_of, style=style_of, colour=colour_of)
    catalog = {
        "nouns": [noun.name for noun in nouns],
        "styles": ["invented"],
        "natural_colour": {f"{index}/0": "gray" for index in range(NOUNS)},
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
