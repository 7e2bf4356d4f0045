# SPDX-License-Identifier: Apache-2.0
"""What must be resident to look at pictures with a checkpoint, and on which devices. Pure."""

from typing import Final, Literal

from inglenook.base.ids import ModelId
from inglenook.engines import studio
from inglenook.runtime.contracts import LoadPlan
from inglenook.studio.tasks.registry import require_available
from inglenook.studio.training import footprint
from inglenook.wire.studio.spec import TrainSpec

LOAD_S: Final = 6.0
KEEP_S: Final = 60.0
BACKWARD_SHARE: Final = 1.0
"""Of what a backward pass needs, Grad-CAM keeps all."""

Use = Literal["evaluate", "explain"]
"""Long work and short work get workers of their own: a look at one picture does not wait for 50,000."""


def load_plan(task: str, spec: TrainSpec, *, use: Use, batch_size: int) -> LoadPlan:
    """weights + batch size × (what is alive of a forward pass + the picture), with a margin, on top of what
    the process takes; `explain` needs a backward pass of one picture."""
    named = {one.name: one for one in require_available(task).backbones}
    backbone = named[spec.model.backbone]
    side = footprint.side_px(spec.augmentations.val, backbone.input_px)
    saved = backbone.saved_m * 1e6 * footprint.FLOAT_BYTES * (side / backbone.input_px) ** 2
    share = footprint.FORWARD_SHARE if use == "evaluate" else BACKWARD_SHARE
    weights = backbone.parameters_m * 1e6 * footprint.FLOAT_BYTES
    work = weights + batch_size * (saved * share + 2 * 3 * side * side * footprint.FLOAT_BYTES)
    return LoadPlan(
        model=ModelId(backbone.name),
        engine=studio.NAME,
        footprint_bytes={
            kind: int(base + footprint.MARGIN * work) for kind, base in footprint.BASE_BYTES.items()
        },
        load_s=LOAD_S,
        variant=use,
        form=f"{batch_size}x{min(side, 9999)}",
        keep_s=KEEP_S,
    )
