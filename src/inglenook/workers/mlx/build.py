# SPDX-License-Identifier: Apache-2.0
"""Networks by the names of their parts; the converter and the worker build the same ones."""

from collections.abc import Mapping
from typing import Any

from mlx import nn

from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.mlx.networks.clip import CLIPTextModel
from inglenook.workers.mlx.networks.kl import AutoencoderKL
from inglenook.workers.mlx.networks.tiny import AutoencoderTiny
from inglenook.workers.mlx.networks.unet import UNet2DConditionModel

VAES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


def network(part: str, config: Mapping[str, Any]) -> nn.Module:
    """The network of a part, its weights not yet its own: MLX makes no number before it is asked for.

    Raises `LoadUnsupported`, naming the field, for what is not built here.
    """
    try:
        return _network(part, config)
    except KeyError as error:
        raise LoadUnsupported(f"The configuration of the {part} does not say {error.args[0]}.") from error
    except (ValueError, TypeError) as error:
        raise LoadUnsupported(
            f"The {part} is built otherwise than the MLX engine can: {error}.",
            hint="draw with the model itself, in torch",
        ) from error


def _network(part: str, config: Mapping[str, Any]) -> nn.Module:
    if part == "unet":
        return UNet2DConditionModel(config)
    if part == "vae":
        name = str(config.get("_class_name", "AutoencoderKL"))
        if name not in VAES:
            raise ValueError(f"it is a {name}")
        return VAES[name](config)
    return CLIPTextModel(config, projected=bool(config.get("projected", part == "text_encoder_2")))
