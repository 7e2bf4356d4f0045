# SPDX-License-Identifier: Apache-2.0
"""Everything that the server and the studio's worker may say to each other. A part of the studio that
brings work of its own adds its messages here, and its handler in `workers/studio/handlers.py`."""

from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, Shutdown
from inglenook.wire.studio.evaluation import (
    Embed,
    Embedded,
    Evaluate,
    Evaluated,
    Explain,
    Explained,
    Predicted,
    WorkFailed,
    WorkStopped,
)
from inglenook.wire.studio.export import Export, Exported, ExportFailed, Exporting, ExportStopped
from inglenook.wire.studio.finding import (
    AugmentationsPreviewed,
    BatchSizeFound,
    BatchSizeTried,
    FindBatchSize,
    FindingFailed,
    FindLearningRate,
    LearningRateFound,
    LearningRateTried,
    PreviewAugmentations,
)
from inglenook.wire.studio.training import (
    Batch,
    Began,
    Checkpoint,
    Epoch,
    OpenStudio,
    Park,
    Parked,
    Samples,
    StudioNotice,
    Train,
    Trained,
    TrainFailed,
    TrainStopped,
    Unpark,
    Unparked,
)

StudioWork = (
    Train | Export | Evaluate | Explain | Embed | FindBatchSize | FindLearningRate | PreviewAugmentations
)
"""What asks for work; each has a `job` and gets exactly one last word."""

ToStudioWorker = OpenStudio | StudioWork | Park | Unpark | Cancel | Shutdown
FromStudioWorker = (
    Hello
    | Loaded
    | LoadFailed
    | Began
    | Batch
    | Epoch
    | Checkpoint
    | Samples
    | StudioNotice
    | Parked
    | Unparked
    | Trained
    | TrainFailed
    | TrainStopped
    | BatchSizeTried
    | BatchSizeFound
    | LearningRateTried
    | LearningRateFound
    | AugmentationsPreviewed
    | FindingFailed
    | Exporting
    | Exported
    | ExportFailed
    | ExportStopped
    | Predicted
    | Evaluated
    | Explained
    | Embedded
    | WorkFailed
    | WorkStopped
)
TrainLastWord = Trained | TrainFailed | TrainStopped
FindingLastWord = BatchSizeFound | LearningRateFound | AugmentationsPreviewed | FindingFailed
