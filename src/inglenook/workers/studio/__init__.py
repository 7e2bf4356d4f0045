# SPDX-License-Identifier: Apache-2.0
"""The studio's worker: one device, on which it trains (and evaluates, exports …) what the server asks for.

    __main__    connect at once, import the heavy libraries afterwards
    worker      make ready, then one piece of work after another; every last word is sent here
    handlers    which function does which work
    context     what a handler is given
    gate        every boundary: stop here, or park here until told to go on
    device      what the device holds and can do, and how its memory is given back
    data/       pictures on their way to a network
    networks/   networks and their first weights
    tasks/      what is different from task to task
    training/   one run
    finding/    what is asked before a run
    kept        the network of a checkpoint, for whatever comes after

A task that is added needs one module in `tasks/` with the methods of `tasks.model.StudioTask`, and one
line in `tasks/registry.py`. Work that is added needs its messages in `wire/studio/`, a function (work,
Context) -> last word, and one line in `handlers.py`.
"""
