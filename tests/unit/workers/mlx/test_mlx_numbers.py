# SPDX-License-Identifier: Apache-2.0
"""Noise and schedulers against torch's and diffusers', and the tokenizer against transformers'."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny_models import byte_tokenizer

from inglenook.wire.mlx import FLOW_SCHEDULERS, SCHEDULERS, SIGMAS
from inglenook.wire.schedulers import SCHEDULERS as ALL
from inglenook.wire.schedulers import takes_sigmas
from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.families import clip
from inglenook.workers.image.families.clip_words import END, START, vocabulary
from inglenook.workers.image.schedulers import SchedulerFactory
from inglenook.workers.mlx.noise import Noise
from inglenook.workers.mlx.schedulers.factory import Schedulers
from inglenook.workers.mlx.tokenizer import ClipTokenizer

pytestmark = pytest.mark.slow

BETAS: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "steps_offset": 1,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "sd1": {"_class_name": "PNDMScheduler", **BETAS, "skip_prk_steps": True, "set_alpha_to_one": False},
    "sd2": {
        "_class_name": "DDIMScheduler", **BETAS, "clip_sample": False, "set_alpha_to_one": False,
        "prediction_type": "v_prediction",
    },
    "sdxl": {"_class_name": "EulerDiscreteScheduler", **BETAS, "timestep_spacing": "leading"},
    "turbo": {"_class_name": "EulerAncestralDiscreteScheduler", **BETAS, "timestep_spacing": "trailing"},
    "flow": {
        "_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction",
        "use_flow_sigmas": True, "flow_shift": 1.5,
    },
}  # fmt: skip


SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), shapes=st.lists(SHAPES, min_size=1, max_size=4))
def test_a_seed_gives_the_numbers_that_torch_gives(seed: int, shapes: list[list[int]]) -> None:
    theirs, ours = torch.Generator("cpu").manual_seed(seed), Noise(seed)
    for shape in shapes:
        found = ours.normal(shape)
        assert found.dtype == np.float32
        assert np.abs(torch.randn(shape, generator=theirs).numpy() - found).max() < 2e-6


def runs() -> list[Any]:
    made = []
    for own in OWN:
        for name in (None, *(FLOW_SCHEDULERS if own == "flow" else SCHEDULERS)):
            sigmas = [one for one in SIGMAS if name and takes_sigmas(name, one, flow=own == "flow")]
            made += [pytest.param(own, name, one, id=f"{own}-{name}-{one}") for one in (None, *sigmas)]
    return made


@pytest.mark.parametrize(("own", "name", "sigmas"), runs())
def test_a_scheduler_moves_the_latents_as_that_of_diffusers_does(
    own: str, name: str | None, sigmas: str | None
) -> None:
    for steps in (1, 2, 7, 20):
        theirs: Any = SchedulerFactory(OWN[own]).make(name, sigmas)
        theirs.set_timesteps(steps, device=torch.device("cpu"))
        if hasattr(theirs, "set_begin_index"):
            theirs.set_begin_index(0)
        ours = Schedulers(OWN[own]).make(name, sigmas, steps)
        assert theirs.timesteps.double().numpy() == pytest.approx(ours.timesteps, abs=1e-2)
        assert float(getattr(theirs, "init_noise_sigma", 1.0)) == pytest.approx(ours.spread, rel=1e-5)
        _walk(theirs, ours)


def _walk(theirs: Any, ours: Any) -> None:
    """The same answers to both, at every step."""
    generator, noise = torch.Generator().manual_seed(3), Noise(3)
    options = {"generator": generator} if "generator" in inspect.signature(theirs.step).parameters else {}
    given = np.random.default_rng(0)
    x, y = (
        torch.randn((1, 4, 8, 8), generator=generator) * ours.spread,
        noise.normal((1, 4, 8, 8)) * ours.spread,
    )
    y = y.astype(np.float32)
    for index, timestep in enumerate(theirs.timesteps):
        asked = theirs.scale_model_input(x, timestep) if hasattr(theirs, "scale_model_input") else x
        assert ours.scaled(y, index) == pytest.approx(asked.numpy(), rel=1e-3, abs=1e-4)
        answer = given.standard_normal(y.shape).astype(np.float32) * 0.5 + 0.3 * ours.scaled(y, index)
        x = theirs.step(torch.from_numpy(answer), timestep, x, **options, return_dict=False)[0]
        y = ours.step(answer, y, index, lambda: noise.normal((1, 4, 8, 8)))
        assert y.dtype == np.float32
        assert np.abs(x.numpy() - y).max() < 1e-4 * max(1.0, float(np.abs(y).max()))


@pytest.mark.parametrize("name", sorted(set(ALL) - set(SCHEDULERS)))
def test_a_scheduler_that_is_not_here_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(DrawInvalid, match="no scheduler") as refused:
        Schedulers(OWN["sd1"]).make(name, None, 5)
    assert name in str(refused.value)
    assert refused.value.field == "scheduler"
    assert "euler_a" in str(refused.value.hint)


def test_what_does_not_follow_a_flow_is_refused() -> None:
    with pytest.raises(DrawInvalid, match="predicts a flow"):
        Schedulers(OWN["flow"]).make("ddim", None, 5)


@pytest.mark.parametrize(("name", "sigmas"), [("euler", "beta"), ("ddim", "karras"), ("euler", "nonsense")])
def test_a_sigma_schedule_that_is_not_here_is_refused_by_its_name(name: str, sigmas: str) -> None:
    with pytest.raises(DrawInvalid, match=sigmas) as refused:
        Schedulers(OWN["sd1"]).make(name, sigmas, 5)
    assert refused.value.field == "sigmas"


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "HeunDiscreteScheduler", **BETAS},
        {**OWN["sd1"], "skip_prk_steps": False},
        {**OWN["sd2"], "thresholding": True},
        {**OWN["sdxl"], "beta_schedule": "sigmoid"},
        {**OWN["sdxl"], "interpolation_type": "log_linear"},
        {},
    ],
)
def test_a_model_whose_own_scheduler_is_not_here_says_so_and_draws_by_others(config: dict[str, Any]) -> None:
    made = Schedulers(config)
    with pytest.raises(DrawInvalid, match="MLX engine"):
        made.make(None, None, 5)
    if config.get("beta_schedule") != "sigmoid" and not config.get("thresholding"):
        assert len(made.make("dpm++_2m", None, 5).timesteps) == 5


def test_a_consistency_model_takes_no_more_steps_than_it_was_distilled_on() -> None:
    with pytest.raises(DrawInvalid, match="at most 50") as refused:
        Schedulers(OWN["sd1"]).make("lcm", None, 51)
    assert refused.value.field == "steps"


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, tuple[Any, ClipTokenizer]]:
    words, merges = vocabulary()
    whole = {"vocabulary": words, "merges": merges, "start": START, "end": END, "length": 77}
    small = byte_tokenizer(pad="!")
    tiny = {"vocabulary": small.get_vocab(), "merges": [], "start": START, "end": END, "length": 77}
    return {
        "openai": (clip.tokenizer(pad=END), ClipTokenizer({**whole, "pad": END})),
        "openclip": (clip.tokenizer(pad="!"), ClipTokenizer({**whole, "pad": "!"})),
        "bytes": (small, ClipTokenizer({**tiny, "pad": "!"})),
    }


TEXTS = st.text(max_size=60) | st.sampled_from(
    [
        "a red fox, wow!!",
        "it's 12:30 <|endoftext|> ok",
        "naïve café ☕",
        "  two   spaces\n",
        "日本語",
        "!",
        "A B c's",
    ]
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@pytest.mark.parametrize("kind", ["openai", "openclip", "bytes"])
def test_words_get_the_numbers_that_transformers_gives(
    tokenizers: dict[str, tuple[Any, ClipTokenizer]], kind: str, text: str
) -> None:
    theirs, ours = tokenizers[kind]
    assert ours([text]).input_ids == theirs([text], add_special_tokens=False, verbose=False).input_ids
    assert ours.convert_tokens_to_ids(",</w>") == theirs.convert_tokens_to_ids(",</w>")
    for mark in ("bos_token_id", "eos_token_id", "pad_token_id", "model_max_length"):
        assert getattr(ours, mark) == getattr(theirs, mark)
