# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from tests.unit.workers.image.bench import Bench

from inglenook.workers.image import denoise
from inglenook.workers.image.denoise import Plan
from inglenook.workers.image.preview import measure_map, preview_pixels


def test_the_map_of_a_linear_encoder_is_found_exactly() -> None:
    mix = torch.tensor([[0.5, -1.0, 0.2], [0.1, 0.3, -0.7], [1.0, 1.0, 1.0], [0.0, 0.4, 0.9]])

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.einsum("cr,brhw->bchw", mix, small) * 3.0 + 0.25

    linear = measure_map(encode, pixels_per_latent=8)
    colours = torch.rand((1, 3, 5, 7), generator=torch.Generator().manual_seed(1))
    shown = preview_pixels(linear, encode(torch.nn.functional.interpolate(colours * 2 - 1, scale_factor=8)))
    expected = (colours[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert shown.shape == (5, 7, 3)
    assert abs(shown.astype(int) - expected.astype(int)).max() <= 1


def test_numbers_that_are_not_finite_do_not_break_a_preview() -> None:
    linear = (torch.ones(4, 3), torch.zeros(3))
    assert preview_pixels(linear, torch.full((1, 4, 2, 2), float("nan"))).max() == 0


@pytest.mark.parametrize("scheduler", ["euler", "ddim", "unipc", "heun", "lms"])
@pytest.mark.parametrize("model", ["sd1", "sd2"])
def test_what_the_model_believes_is_what_its_last_step_arrives_at(
    benches: dict[str, Bench], model: str, scheduler: str
) -> None:
    """A first-order step to noise level zero lands on the believed picture, whatever the scheduler."""
    family = benches[model].family
    with torch.inference_mode():
        text = family.encode_text("a fox", "", guidance_scale=None, width=64, height=64)
        picture = denoise.begin(family, Plan(text, scheduler, 8, 64, 64), seed=1)
        while not picture.finished:
            denoise.advance(family, picture)
    arrived, believed = picture.latents, denoise.believed(picture)
    assert (arrived - believed).abs().mean() < 0.15 * arrived.std()
