# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the speech worker. The codes are those that the wire promises.

AudioUnreadable   audio.unreadable   no recording, or a broken one
AudioNoReader     audio.no_reader    a recording of a kind that nothing here reads
AudioTooLong      audio.too_long     longer than it may be, or too slow to read
AudioEmpty        audio.empty        there is nothing in it
LoadCorrupt       load.corrupt       the model's files are not what they claim to be
Stopped           transcribe.cancelled   somebody asked for it to stop
"""

from inglenook.base.errors import Cancelled, Failed, Invalid


class AudioUnreadable(Invalid):
    default_code = "audio.unreadable"


class AudioNoReader(Invalid):
    default_code = "audio.no_reader"


class AudioTooLong(Invalid):
    default_code = "audio.too_long"


class AudioEmpty(Invalid):
    default_code = "audio.empty"


class LoadCorrupt(Failed):
    default_code = "load.corrupt"


class Stopped(Cancelled):
    """Args:
    heard: seconds of the recording that were done.
    """

    default_code = "transcribe.cancelled"

    def __init__(self, heard: float) -> None:
        super().__init__(f"Stopped after {heard:.1f} s of the recording.")
        self.heard = heard
