# SPDX-License-Identifier: Apache-2.0
"""The image worker: one model on one device, drawing what the server asks for over the wire.

    __main__      connect at once, import the heavy libraries afterwards
    inbox         a thread that reads the wire while the main thread draws: Cancel, Shutdown, end-of-file
    worker        load, then one Draw after another; every last word is sent here
    drawing       one Draw: check it, encode, step, preview, decode, and one retry when memory runs out
    denoise       the denoising loop, one step at a time; a `Picture` is all state of one in flight
    schedulers    names to classes of diffusers, on the model's own noise schedule
    parts         where the parts of a model are: on the device, or waiting in host memory
    preview       latents to a small picture by a linear map, without a decoder
    device        what the allocator holds, and how far the processor may run ahead of it
    memory        what counts as "out of memory": the only place that reads allocators' error texts
    spool         pictures in and out, as files, written atomically
    weights       safetensors files: checked before they are opened, pickles refused
    families/     one file a family of models
    configs/      what a single `.safetensors` file does not say about itself, written by hand

A family that is added needs one file in `families/` and one line in `families/registry.py`:

1. A UNet over the latents of a VAE: subclass `families.unet.LatentUNet`. Say which text encoders there are
   (`text_parts`), what a prompt becomes (`encode_text`), and which parts of a single file they come from
   (`from_single`). `families/sdxl.py` is such a file.
2. A transformer over the latents of a VAE: subclass `families.latent.LatentModel`, which has the VAE, the
   previews, the guidance and the reading of folders. Anything else: subclass `families.family.Family`. Its
   docstrings are the contract, and `denoise.py` knows nothing else.
3. `wire/families.py` gets the line that the server reads: size, multiple, default steps and guidance.
4. `tests/unit/workers/image/test_image_parity.py` gets the family's name: it compares with diffusers' own
   pipeline for every scheduler; `tests/tiny_models.py` has to be able to write a tiny model of it.

What is not ours stays out: no pipeline of diffusers is called, only its components (UNet, VAE, schedulers).
"""
