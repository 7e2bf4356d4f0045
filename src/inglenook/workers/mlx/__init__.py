# SPDX-License-Identifier: Apache-2.0
"""The MLX worker: Stable Diffusion 1.x, 2.x and XL without torch, on Apple silicon; it answers `wire/image`.

    __main__     connect at once, import MLX afterwards
    worker       load, then one Draw after another; every last word is sent here
    drawing      one Draw: check it, encode, step, preview, decode, and one retry when memory runs out
    sampling     the denoising loop, one step at a time, in NumPy; a `Picture` is all state of one in flight
    model        a converted model in memory: texts, questions, pictures to latents and back
    files        a converted folder, every file checked by its SHA-256
    prompt       prompts in pieces, read by CLIP
    tokenizer    words to numbers, by the package `tokenizers`
    noise        torch's normal numbers for a seed
    preview      latents to a small picture
    memory       what the allocator holds, and what counts as "out of memory"
    networks/    the networks
    schedulers/  the schedulers
    lora/        LoRAs beside the weights that they change
    convert/     `python -m inglenook.workers.mlx.convert`: a model of the library to MLX's layout

The latents and all arithmetic of the schedulers are NumPy arrays of float32 as torch lays them out, (1,
channels, height, width): a seed then gives the picture that the torch worker draws, up to rounding. What is
asked of a network goes over to MLX with its channels last.
"""
