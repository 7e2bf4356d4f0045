# SPDX-License-Identifier: Apache-2.0
"""Schedulers by name: which class, with what of the model's own, at which noise levels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.workers.image.bench import STARTER, Bench, opened

from inglenook.wire.image import DrawFailed
from inglenook.wire.schedulers import FLOW_SCHEDULERS, SCHEDULERS, SIGMAS, fitting, takes_sigmas
from inglenook.workers.image import denoise
from inglenook.workers.image.errors import DrawInvalid, LoadUnsupported
from inglenook.workers.image.schedulers import FLOW_RECIPES, RECIPES, SchedulerFactory, levels_of

pytestmark = pytest.mark.slow  # each costs seconds; the everyday tests draw less

V_MODEL = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.001,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
FLOW_MODELS: dict[str, dict[str, Any]] = {
    "starter": {
        "_class_name": "DPMSolverMultistepScheduler",
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": 3.0,
    },
    "sd3": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000},
}
PAIRS = [
    (name, sigmas, flow)
    for flow in (False, True)
    for name in fitting(flow=flow)
    for sigmas in (None, *SIGMAS)
    if sigmas is None or takes_sigmas(name, sigmas, flow=flow)
]
CPU = torch.device("cpu")


def factory(flow: bool) -> SchedulerFactory:
    return SchedulerFactory(FLOW_MODELS["starter"] if flow else V_MODEL)


def test_every_name_on_the_wire_has_a_class_and_no_other() -> None:
    assert [name for name in SCHEDULERS if name in RECIPES] == list(RECIPES)
    assert set(RECIPES) | set(FLOW_RECIPES) == set(SCHEDULERS)
    assert set(FLOW_RECIPES) == FLOW_SCHEDULERS


@pytest.mark.parametrize("flow", [False, True])
def test_the_server_offers_what_the_worker_can_draw_with(flow: bool) -> None:
    made = factory(flow)
    assert made.usable() == list(fitting(flow=flow))
    for name in SCHEDULERS:
        for sigmas in SIGMAS:
            if name not in made.usable():
                with pytest.raises(DrawInvalid):
                    made.make(name, sigmas)
            elif takes_sigmas(name, sigmas, flow=flow):
                made.make(name, sigmas)
            else:
                with pytest.raises(DrawInvalid, match="no sigma schedule") as refused:
                    made.make(name, sigmas)
                takes = made.sigmas_of(name)
                assert refused.value.hint is not None
                assert all(other in refused.value.hint for other in takes)


@pytest.mark.parametrize("name", RECIPES)
def test_what_belongs_to_the_model_is_carried_over(name: str) -> None:
    config = SchedulerFactory(V_MODEL).make(name).config
    assert {key: config[key] for key in V_MODEL if not key.startswith("_")} == {
        key: value for key, value in V_MODEL.items() if not key.startswith("_")
    }


@pytest.mark.parametrize("model", FLOW_MODELS)
@pytest.mark.parametrize("name", FLOW_RECIPES)
def test_how_far_a_flow_is_shifted_is_carried_over(model: str, name: str) -> None:
    made: Any = SchedulerFactory(FLOW_MODELS[model]).make(name)
    assert made.config["shift" if type(made).__name__.startswith("FlowMatch") else "flow_shift"] == 3.0
    made.set_timesteps(4, device=CPU)
    halfway = made.sigmas[len(made.sigmas) // 2]
    assert halfway > 0.6, "without the shift it would be at about 0.5"
    assert 0.99 <= made.sigmas[0] <= 1.0


@pytest.mark.parametrize("name", ["ddim", "heun", "lcm"])
def test_latents_are_not_clipped_unless_the_model_says_so(name: str) -> None:
    assert SchedulerFactory(V_MODEL).make(name).config["clip_sample"] is False
    assert SchedulerFactory({**V_MODEL, "clip_sample": True}).make(name).config["clip_sample"] is True


def test_the_models_own_levels_do_not_leak_into_the_plain_names() -> None:
    karras = SchedulerFactory({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True})
    assert karras.make(None).config["use_karras_sigmas"] is True
    assert karras.make("euler").config["use_karras_sigmas"] is False
    assert karras.make("dpm++_2m_karras").config["use_karras_sigmas"] is True
    assert karras.make(None, "beta").config["use_karras_sigmas"] is False


@pytest.mark.parametrize(("name", "sigmas", "flow"), PAIRS)
def test_a_sigma_schedule_moves_the_noise_levels(name: str, sigmas: str | None, flow: bool) -> None:
    made: Any = factory(flow).make(name, sigmas)
    made.set_timesteps(8, device=CPU)
    assert torch.isfinite(made.timesteps.float()).all()
    if sigmas is None or name.endswith("_karras"):
        return
    plain: Any = factory(flow).make(name)
    plain.set_timesteps(8, device=CPU)
    same_by_default = sigmas == "sgm_uniform" and name in ("unipc", "dpm++_2m", "dpm++_2m_sde", "dpm++_3m")
    assert same_by_default or not torch.equal(made.timesteps, plain.timesteps)


def test_the_models_own_scheduler_can_be_asked_at_other_levels() -> None:
    assert SchedulerFactory(V_MODEL).sigmas_of(None) == ("sgm_uniform",)
    assert SchedulerFactory(V_MODEL).make(None, "sgm_uniform").config["timestep_spacing"] == "trailing"
    with pytest.raises(DrawInvalid, match="DDIMScheduler"):
        SchedulerFactory(V_MODEL).make(None, "karras")
    with pytest.raises(DrawInvalid, match="There is no sigma schedule"):
        SchedulerFactory(V_MODEL).make(None, "kerras")


def test_along_a_flow_levels_of_added_noise_are_refused() -> None:
    assert levels_of(type(factory(flow=True).make("dpm++_2m")), flow=True) == ()
    with pytest.raises(DrawInvalid, match="along a flow"):
        factory(flow=True).make("dpm++_2m", "karras")


def test_the_stochastic_ones_are_stochastic_and_the_third_order_is_third() -> None:
    made = SchedulerFactory(V_MODEL)
    assert made.make("dpm++_sde").config["algorithm_type"] == "sde-dpmsolver++"
    assert made.make("dpm++_2m_sde").config["algorithm_type"] == "sde-dpmsolver++"
    assert made.make("dpm++_3m").config["solver_order"] == 3
    assert SchedulerFactory({**V_MODEL, "solver_order": 3}).make("dpm++_2m").config["solver_order"] == 2


def test_schedulers_share_no_state() -> None:
    made = SchedulerFactory(V_MODEL)
    assert made.make(None) is not made.make(None)


def test_a_scheduler_of_the_other_kind_is_refused_with_those_that_fit() -> None:
    with pytest.raises(DrawInvalid, match="predicts a flow") as refused:
        factory(flow=True).make("ddim")
    assert refused.value.hint is not None
    assert "flow_match_euler" in refused.value.hint
    with pytest.raises(DrawInvalid, match="follows a flow"):
        factory(flow=False).make("flow_match_euler")
    with pytest.raises(DrawInvalid, match="There is no scheduler"):
        factory(flow=False).make("eulr")


@pytest.mark.parametrize("name", ["", "torch", "StableDiffusionPipeline", "no such", "__import__"])
def test_a_class_that_is_no_scheduler_is_refused(name: str) -> None:
    with pytest.raises(LoadUnsupported):
        SchedulerFactory({"_class_name": name})


def test_more_steps_than_a_consistency_model_has_levels_are_refused(benches: dict[str, Bench]) -> None:
    last = benches["sd1"].execute(scheduler="lcm", steps=51)
    assert isinstance(last, DrawFailed)
    assert last.code == "draw.invalid"
    assert "51" in last.message
    assert "50" in last.message


class Perfect:
    """A model that knows the picture: its answer is what takes `latents` straight to `picture`."""

    def __init__(self, schedulers: SchedulerFactory, picture: torch.Tensor, noise: torch.Tensor) -> None:
        self.schedulers = schedulers
        self.picture, self.noise = picture, noise

    def answer(self, made: Any, asked: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        if self.schedulers.flow:
            return (asked - self.picture) / (timestep.float() / 1000)
        signal = made.alphas_cumprod[timestep.round().long().clamp(0, 999)]
        noise = (asked - signal.sqrt() * self.picture) / (1 - signal).sqrt()
        return signal.sqrt() * noise - (1 - signal).sqrt() * self.picture


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize(("name", "sigmas", "flow"), PAIRS)
def test_with_a_model_that_knows_the_picture_every_scheduler_ends_at_it(
    name: str, sigmas: str | None, flow: bool, strength: float
) -> None:
    """Also from the middle of the run, and a preview is that picture from the first step on."""
    made: Any = factory(flow).make(name, sigmas)
    picture, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).unbind()
    model = Perfect(factory(flow), picture, noise)
    made.set_timesteps(10, device=CPU)
    first = 0 if strength == 1.0 else 5 * made.order
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(first)
    timesteps = made.timesteps[first:]
    latents = denoise.noised(made, picture, noise, timesteps[:1])
    generator = torch.Generator().manual_seed(2)
    for timestep in timesteps:
        asked = denoise.scaled(made, latents, timestep)
        answer = model.answer(made, asked, timestep)
        seen: Any = SimpleNamespace(last_asked=(asked, timestep, answer), scheduler=made)
        assert torch.allclose(denoise.believed(seen), picture, atol=0.05), f"the preview at {timestep}"
        options = {} if name in ("ddim", "pndm", "lms", "unipc", "heun", "dpm2") else {"generator": generator}
        latents = made.step(answer, timestep, latents, **options, return_dict=False)[0]
    # Begun in the middle, diffusers' linear multistep counts steps that were never taken.
    tolerance = 0.6 if name == "lms" and first else 0.25
    assert (latents - picture).abs().max() < tolerance


@pytest.mark.parametrize(("name", "sigmas", "flow"), PAIRS)
def test_every_scheduler_draws_at_every_sigma_schedule_that_it_takes(
    benches: dict[str, Bench], name: str, sigmas: str | None, flow: bool
) -> None:
    one = benches["flow" if flow else "sd1"]
    for mode, given in (
        ("text", {}),
        ("image", {"image": "given.png", "strength": 0.6}),
        ("inpaint", {"image": "given.png", "mask": "mask.png", "strength": 0.6}),
    ):
        picture = one.ours(scheduler=name, sigmas=sigmas, mode=mode, preview_every=1, steps=3, **given)
        assert np.isfinite(picture).all()
        assert picture.std() > 1


def test_the_starter_model_draws_with_every_scheduler_that_can_follow_it(tmp_path: Any) -> None:
    one = opened(STARTER, "sd1", tmp_path)
    side = {"width": 32, "height": 32, "prompt": "a red fox", "guidance_scale": 3.0, "steps": 8}
    usual = one.ours(**side, scheduler=None).astype(float)
    for name in one.family.schedulers.usable():
        for sigmas in (None, *one.family.schedulers.sigmas_of(name)):
            picture = one.ours(**side, scheduler=name, sigmas=sigmas)
            assert picture.std() > 10, f"{name} at {sigmas} is flat"
            if sigmas is None and name not in ("lcm", "dpm++_sde", "dpm++_2m_sde"):
                assert np.abs(picture - usual).mean() < 40, f"{name} draws another picture"
