# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with pictures that are to be looked at."""

from inglenook.base.errors import Failed, Invalid, TooLarge


class PictureUnreadable(Invalid):
    """It is none, or a damaged one; codes `picture.…`."""

    default_code = "picture.unreadable"


class PictureTooLarge(TooLarge):
    default_code = "picture.too_large"


class PredictionFailed(Failed):
    default_code = "predict.failed"
