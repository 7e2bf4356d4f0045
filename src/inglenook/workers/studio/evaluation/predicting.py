# SPDX-License-Identifier: Apache-2.0
"""The handler of `Evaluate`: what a checkpoint says of each picture."""

from pathlib import Path

from inglenook.wire.message import Message
from inglenook.wire.studio.evaluation import LOGITS, Evaluate, Evaluated, WorkStopped
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.evaluation.looking import Halted, look, read_examples
from inglenook.workers.studio.evaluation.telling import told, write_array
from inglenook.workers.studio.kept import load_kept


def evaluate(work: Evaluate, context: Context) -> Message:
    """Writes `LOGITS`, whole or not at all."""
    return told(work.job, lambda: _evaluated(work, context))


def _evaluated(work: Evaluate, context: Context) -> Message:
    began = context.clock.monotonic()
    kept = load_kept(Path(work.checkpoint))
    examples = read_examples(Path(work.manifest))
    context.device.reset_peak()
    network = kept.network.to(context.device.torch)
    try:
        looked = look(
            examples,
            kept.pipeline(),
            network,
            job=work.job,
            batch_size=work.batch_size,
            context=context,
        )
    except Halted as halted:
        return WorkStopped(job=work.job, done=halted.done)
    write_array(Path(work.folder) / LOGITS, looked.rows)
    return Evaluated(
        job=work.job,
        classes=kept.classes,
        epoch=int(kept.about["epoch"]),
        seconds=context.clock.monotonic() - began,
        unreadable=looked.unreadable,
        peak_bytes=context.device.peak_bytes(),
    )
