# SPDX-License-Identifier: Apache-2.0
"""Every network against the one of diffusers or transformers, number by number.

Random weights, float32, CPU. The stated tolerance is the largest difference of any number, where numbers are
of the size of 1 to 3: what was measured is about a third of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from tests.tiny_models import build
from tests.unit.workers.mlx.bench import Pair, converted, load

import inglenook
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.mlx.build import network

pytestmark = pytest.mark.slow

UNET, TEXT, ENCODED, DECODED = 1e-5, 5e-6, 1e-5, 3e-5
FAMILIES = ("sd1", "sd2", "sdxl")
STARTER = Path(inglenook.__file__).parent / "catalog" / "builtin" / "starter-339"


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def last(tensor: torch.Tensor) -> mx.array:
    return mx.array(tensor.permute(0, 2, 3, 1).numpy())


def furthest(theirs: torch.Tensor, ours: mx.array) -> float:
    found = np.array(ours)
    return float(np.abs(theirs.numpy() - (found.transpose(0, 3, 1, 2) if found.ndim == 4 else found)).max())


def modules(one: Pair) -> dict[str, Any]:
    return dict(one.torch.family._parts.modules)  # type: ignore[attr-defined]


@pytest.mark.parametrize("side", [(8, 8), (9, 11), (16, 5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_unet(pairs: dict[str, Pair], family: str, side: tuple[int, int]) -> None:
    one, generator = pairs[family], torch.Generator().manual_seed(1)
    theirs = modules(one)["unet"]
    x = torch.randn((2, 4, *side), generator=generator)
    text = torch.randn((2, 77, theirs.config.cross_attention_dim), generator=generator)
    more: dict[str, Any] = {}
    added: dict[str, Any] = {}
    if family == "sdxl":
        pooled, sizes = (
            torch.randn((2, 40), generator=generator),
            torch.tensor([[64.0, 72, 0, 0, 64, 72]] * 2),
        )
        more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}
        added = {"pooled": mx.array(pooled.numpy()), "sizes": mx.array(sizes.numpy())}
    for time in (0.0, 401.0, 999.0):
        answer = theirs(x, torch.tensor(time), text, return_dict=False, **more)[0]
        ours = one.model.parts["unet"](last(x), mx.full((2,), time), mx.array(text.numpy()), **added)
        assert answer.abs().max() > 0.5
        assert furthest(answer, ours) < UNET


@pytest.mark.parametrize("family", FAMILIES)
def test_the_vae(pairs: dict[str, Pair], family: str) -> None:
    theirs, ours = modules(pairs[family])["vae"], pairs[family].model.parts["vae"]
    pixels = torch.rand((1, 3, 64, 72), generator=torch.Generator().manual_seed(2)) * 2 - 1
    encoded = theirs.encode(pixels).latent_dist
    mean, std = ours.encode(last(pixels))
    assert furthest(encoded.mean, mean) < ENCODED
    assert furthest(encoded.std, std) < ENCODED
    assert (
        furthest(theirs.decode(encoded.mean, return_dict=False)[0], ours.decode(last(encoded.mean))) < DECODED
    )


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_encoders(pairs: dict[str, Pair], family: str, part: str) -> None:
    theirs = modules(pairs[family]).get(part)
    if theirs is None:
        assert part not in pairs[family].model.parts
        return
    ids = torch.randint(0, 500, (3, 77), generator=torch.Generator().manual_seed(3))
    ids[:, 40:] = theirs.config.eos_token_id
    read = theirs(ids, output_hidden_states=True)
    ours = pairs[family].model.parts[part](mx.array(ids.numpy()))
    assert len(read.hidden_states) == len(ours.states)
    for one, other in zip(read.hidden_states, ours.states, strict=True):
        assert furthest(one, other) < TEXT
    assert furthest(read.last_hidden_state, ours.normed) < TEXT
    assert (
        furthest(read.text_embeds if hasattr(read, "text_embeds") else read.pooler_output, ours.pooled) < TEXT
    )


def test_a_unet_that_is_told_the_guidance(pairs: dict[str, Pair]) -> None:
    theirs, ours = modules(pairs["sd1-lcm"])["unet"], pairs["sd1-lcm"].model.parts["unet"]
    generator = torch.Generator().manual_seed(4)
    x, told = torch.randn((1, 4, 8, 8), generator=generator), torch.randn((1, 16), generator=generator)
    text = torch.randn((1, 77, 32), generator=generator)
    answer = theirs(x, torch.tensor(7.0), text, timestep_cond=told, return_dict=False)[0]
    found = ours(last(x), mx.array([7.0]), mx.array(text.numpy()), told=mx.array(told.numpy()))
    assert furthest(answer, found) < UNET


def test_a_unet_that_is_shown_the_mask(pairs: dict[str, Pair]) -> None:
    theirs, ours = modules(pairs["sd1-inpainting"])["unet"], pairs["sd1-inpainting"].model.parts["unet"]
    x = torch.randn((1, 9, 8, 8), generator=torch.Generator().manual_seed(5))
    text = torch.randn((1, 77, 32), generator=torch.Generator().manual_seed(6))
    answer = theirs(x, torch.tensor(7.0), text, return_dict=False)[0]
    assert furthest(answer, ours(last(x), mx.array([7.0]), mx.array(text.numpy()))) < UNET


def test_the_starter_with_its_pooled_text_and_its_tiny_vae(tmp_path: Path) -> None:
    """Trained weights of our own: a time that scales and shifts, a text as a vector, another kind of VAE."""
    from diffusers import AutoencoderTiny, UNet2DConditionModel

    ours = load(converted(STARTER, tmp_path / "starter", "sd1"), "sd1")
    generator = torch.Generator().manual_seed(7)
    unet = UNet2DConditionModel.from_pretrained(STARTER / "unet", local_files_only=True)
    x, text = torch.randn((2, 4, 32, 32), generator=generator), torch.randn((2, 77, 192), generator=generator)
    answer = unet(x, torch.tensor(400.0), text, return_dict=False)[0]
    found = ours.parts["unet"](last(x), mx.full((2,), 400.0), mx.array(text.numpy()))
    assert answer.abs().max() > 1
    assert furthest(answer, found) < 1e-4
    vae = AutoencoderTiny.from_pretrained(STARTER / "vae", local_files_only=True)
    pixels = torch.rand((1, 3, 32, 32), generator=generator) * 2 - 1
    latents = vae.encode(pixels).latents
    assert furthest(latents, ours.parts["vae"].encode(last(pixels))[0]) < ENCODED
    assert furthest(vae.decode(latents).sample, ours.parts["vae"].decode(last(latents))) < DECODED


def test_a_tiny_vae_of_four_resolutions() -> None:
    from diffusers import AutoencoderTiny
    from mlx.utils import tree_flatten

    torch.manual_seed(8)
    theirs = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 2, 2, 2), num_decoder_blocks=(2, 2, 2, 1),
    ).eval()  # fmt: skip
    ours = network("vae", {**theirs.config, "_class_name": "AutoencoderTiny"})
    weights = {
        key: mx.array((w.permute(0, 2, 3, 1) if w.ndim == 4 else w).numpy())
        for key, w in theirs.state_dict().items()
    }
    assert weights.keys() == dict(tree_flatten(ours.parameters())).keys()
    ours.load_weights(list(weights.items()))
    pixels = torch.rand((1, 3, 64, 48)) * 2 - 1
    latents = theirs.encode(pixels).latents
    assert furthest(latents, ours.encode(last(pixels))[0]) < ENCODED
    assert furthest(theirs.decode(latents).sample, ours.decode(last(latents))) < DECODED


def test_words_are_weighted_as_by_torch() -> None:
    """States with a mean: those of a random encoder have none, and its quotients are rounding errors."""
    from inglenook.workers.image.families.clip_prompt import _weighted
    from inglenook.workers.mlx.prompt import weighted

    states = torch.randn((3, 77, 32), generator=torch.Generator().manual_seed(9)) + 0.1
    weights = np.ones((3, 77), np.float32)
    weights[0, 3:9], weights[1, 5] = 1.3, -0.5
    found = weighted(mx.array(states.numpy()), weights)
    assert furthest(_weighted(states, weights.tolist()), found) < TEXT
    assert np.array_equal(np.array(found)[2], states[2].numpy()), (
        "a piece whose words all weigh 1 is not touched"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("act_fn", "gelu"), ("class_embed_type", "timestep"), ("mid_block_type", "UNetMidBlock2D"),
        ("down_block_types", ("AttnDownBlock2D", "DownBlock2D")), ("addition_embed_type", "image"),
        ("cross_attention_dim", (32, 64)), ("dual_cross_attention", True),
    ],
)  # fmt: skip
def test_a_network_that_is_built_otherwise_is_refused_by_the_field(field: str, value: Any) -> None:
    with pytest.raises(LoadUnsupported, match="built otherwise") as refused:
        network("unet", {**build("sd1").unet.config, field: value})
    assert field in str(refused.value) or "Attn" in str(refused.value)
