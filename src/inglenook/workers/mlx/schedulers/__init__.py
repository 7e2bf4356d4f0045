# SPDX-License-Identifier: Apache-2.0
"""Schedulers in NumPy, by the names of `wire/schedulers`: the same numbers as those of diffusers, without
torch.

tables    how strong the noise is at each of the training's timesteps, and at which of them a run asks
methods   what becomes of the latents at one step
factory   names and a model's own configuration to a method
"""
