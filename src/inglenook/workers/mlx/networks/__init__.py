# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion's networks for MLX. Arrays are (batch, height, width, channels); the attributes are called
as diffusers and transformers call them, so that a weight has one name everywhere.

    layers       convolutions around a residual, halving and doubling
    attention    attention to a text, and to the picture itself
    conditions   time, size and text as one vector
    unet         the network that denoises
    kl           the VAE
    tiny         the VAE's small stand-in (TAESD)
    clip         text encoders

Formulas are those of the papers that the modules name; `tests/unit/workers/mlx` compares every module with
the one of diffusers or transformers, number by number.
"""
