# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the studio's worker. The codes are those that the wire promises.

UnknownTask      train.unknown_task      no such task is trained here
UnknownModel     train.unknown_model     no such backbone or head
NoWeights        train.no_weights        weights were asked for and are not to be had
BadAugmentation  train.bad_augmentation  a step that does not exist, or cannot be done as it is asked for
BadCheckpoint    train.bad_checkpoint    not a checkpoint of ours, or of another run
NoData           train.no_data           nothing to learn from
Unreadable       train.unreadable        too many pictures cannot be read
InvalidSpec      train.invalid           the configuration contradicts itself or the data
Diverged         train.diverged          the loss is no finite number any more
LoaderDied       train.loader_died       a process that reads pictures has ended
DiskFull         train.disk_full         a checkpoint could not be written
Stopped          -                       somebody asked for it to stop; never told as a failure
"""

import pickle

from inglenook.base.errors import Cancelled, Failed, Invalid


class UnknownTask(Invalid):
    default_code = "train.unknown_task"


class UnknownModel(Invalid):
    default_code = "train.unknown_model"


class NoWeights(Failed):
    default_code = "train.no_weights"


class BadAugmentation(Invalid):
    default_code = "train.bad_augmentation"


class BadCheckpoint(Invalid):
    default_code = "train.bad_checkpoint"


class NoData(Invalid):
    default_code = "train.no_data"


class Unreadable(Failed):
    default_code = "train.unreadable"


class InvalidSpec(Invalid):
    default_code = "train.invalid"


class Diverged(Failed):
    default_code = "train.diverged"


class LoaderDied(Failed):
    default_code = "train.loader_died"


class DiskFull(Failed):
    default_code = "train.disk_full"


class Stopped(Cancelled):
    """Raised at a boundary, through whatever library is calling us, to the handler that began the work."""

    default_code = "studio.stopped"


def why_unread(error: Exception) -> str:
    """Why torch did not read a file, in our words: its own advise to read it unsafely."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something else than tensors and plain values; if that is code, it was not run"
    return "it is damaged or cut off"
