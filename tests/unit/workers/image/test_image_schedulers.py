# SPDX-License-Identifier: Apache-2.0
import pytest

from inglenook.wire.schedulers import FLOW_SCHEDULERS, SCHEDULERS
from inglenook.workers.image.errors import DrawInvalid, LoadUnsupported
from inglenook.workers.image.schedulers import RECIPES, SchedulerFactory, _follows_flow

V_MODEL = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.001,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def test_every_name_on_the_wire_has_a_class_and_no_other() -> None:
    assert list(RECIPES) == list(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_belongs_to_the_model_is_carried_over(name: str) -> None:
    config = SchedulerFactory(V_MODEL).make(name).config
    assert {key: config[key] for key in V_MODEL if not key.startswith("_")} == {
        key: value for key, value in V_MODEL.items() if not key.startswith("_")
    }


@pytest.mark.parametrize("name", ["ddim", "heun"])
def test_latents_are_not_clipped_unless_the_model_says_so(name: str) -> None:
    assert SchedulerFactory(V_MODEL).make(name).config["clip_sample"] is False
    assert SchedulerFactory({**V_MODEL, "clip_sample": True}).make(name).config["clip_sample"] is True


def test_the_models_own_karras_levels_do_not_leak_into_the_plain_names() -> None:
    factory = SchedulerFactory({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True})
    assert factory.make(None).config["use_karras_sigmas"] is True
    assert factory.make("euler").config["use_karras_sigmas"] is False
    assert factory.make("dpm++_2m_karras").config["use_karras_sigmas"] is True


def test_the_stochastic_one_is_stochastic() -> None:
    assert SchedulerFactory(V_MODEL).make("dpm++_sde").config["algorithm_type"] == "sde-dpmsolver++"


def test_schedulers_share_no_state() -> None:
    factory = SchedulerFactory(V_MODEL)
    assert factory.make(None) is not factory.make(None)


def test_a_flow_names_what_can_follow_it() -> None:
    factory = SchedulerFactory(
        {
            "_class_name": "DPMSolverMultistepScheduler",
            "prediction_type": "flow_prediction",
            "use_flow_sigmas": True,
        }
    )
    assert factory.usable() == ["unipc", "dpm++_2m", "dpm++_sde"]
    with pytest.raises(DrawInvalid, match="predicts a flow"):
        factory.make("euler")


@pytest.mark.parametrize("name", ["", "torch", "StableDiffusionPipeline", "no such", "__import__"])
def test_a_class_that_is_no_scheduler_is_refused(name: str) -> None:
    with pytest.raises(LoadUnsupported):
        SchedulerFactory({"_class_name": name})


def test_the_server_knows_which_schedulers_can_follow_a_flow() -> None:
    assert {name for name, recipe in RECIPES.items() if _follows_flow(recipe)} == FLOW_SCHEDULERS
