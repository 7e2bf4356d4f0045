# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a recording, or with what is asked about it."""

from inglenook.base.errors import Failed, Invalid


class BadRecording(Invalid):
    """It cannot be read; codes `audio.…`."""

    default_code = "audio.unreadable"


class CannotHear(Invalid):
    """The model cannot do what is asked: another language, a translation."""

    default_code = "speech.not_supported"


class TranscriptionFailed(Failed):
    default_code = "transcribe.failed"
