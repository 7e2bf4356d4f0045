# SPDX-License-Identifier: Apache-2.0
"""The worker of stable-diffusion.cpp: single files of Stable Diffusion without torch.

It answers `wire/image`.

    __main__   connect at once, load the library afterwards
    worker     load, then one Draw after another; every last word is sent here
    drawing    one Draw: check it, one picture after another, into the spool
    painting   what a picture is made of
    samplers   our schedulers by stable-diffusion.cpp's names
    library    stable-diffusion.cpp inside this process, by the package cyllama

The library has no way to break off a picture: a Cancel is seen between two pictures of a Draw, and otherwise
the server ends this process after its grace.
"""
