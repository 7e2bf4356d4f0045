# SPDX-License-Identifier: Apache-2.0
"""A model of the library, converted to MLX's layout in a child of its own.

    worker      the wire: one model, progress, its last word
    source      what there is to read: a folder of diffusers, or one file
    folder      the parts of a folder of diffusers, their names made even
    single      the parts of one file in the layout of the first latent diffusion models
    ldm_names   which weight of such a file is which of diffusers
    writing     safetensors, written and hashed tensor by tensor; the folder moved into place when it is whole

Weights are read by MLX, which maps them from the disk, one part at a time; torch is not needed.
"""
