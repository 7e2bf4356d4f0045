# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the image worker. The codes are those that the wire promises.

LoadCorrupt       load.corrupt       the files are not what they claim to be, or are cut short
LoadUnsupported   load.unsupported   whole, but not something that is loaded here
DrawInvalid       draw.invalid       this model cannot do what was asked
NotFinite         draw.not_finite    the arithmetic overflowed; there is no picture to show
telling.NoRoom    store.disk_full    a picture could not be written
Stopped           draw.cancelled     somebody asked for it to stop
"""

from inglenook.base.errors import Cancelled, Failed, Invalid

CONVERT_HINT = (
    "a pickle can run any program when it is opened, so none is opened here; take the .safetensors file of "
    "the same model, or convert it where you trust it: torch.load(open(path, 'rb'), weights_only=True), "
    "then safetensors.torch.save_file(tensors, new_path)"
)


class LoadCorrupt(Failed):
    default_code = "load.corrupt"


class LoadUnsupported(Invalid):
    default_code = "load.unsupported"


class DrawInvalid(Invalid):
    default_code = "draw.invalid"


class NotFinite(Failed):
    default_code = "draw.not_finite"


class Stopped(Cancelled):
    """Args:
    picture: index of the picture that was in flight.
    step: the step that was not begun, from 1.
    """

    default_code = "draw.cancelled"

    def __init__(self, *, picture: int, step: int) -> None:
        super().__init__(f"Stopped before step {step} of picture {picture + 1}.")
        self.picture = picture
        self.step = step
