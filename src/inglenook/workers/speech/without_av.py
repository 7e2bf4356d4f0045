# SPDX-License-Identifier: Apache-2.0
"""Keeps faster-whisper from importing PyAV.

PyAV's wheels carry FFmpeg linked with x264 and x265, which are under the GPL; nothing that we import may be.
`faster_whisper.audio` imports `av` at its head and uses it only to read files. We read them ourselves
(`readers`), so an empty module of that name is all that it needs.
"""

import sys
from types import ModuleType


def keep_out() -> None:
    """Call it before anything imports `faster_whisper`."""
    stand_in = ModuleType("av", "Not PyAV: recordings are read by inglenook.workers.speech.readers.")
    sys.modules["av"] = stand_in
