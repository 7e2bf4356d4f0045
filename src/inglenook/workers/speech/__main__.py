# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.speech`: connect, say Hello, and only then import what takes seconds."""

import logging
import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.speech import LoadSpeechModel, ToSpeechWorker, Transcribe
from inglenook.workers.beginning import OFFLINE, connected
from inglenook.workers.inbox import Inbox

QUIET_AND_OFFLINE = {
    **OFFLINE,
    "CT2_VERBOSE": "-1",  # errors only
}


def main() -> int:
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # it tells languages and lengths
    channel = connected("speech", ToSpeechWorker, QUIET_AND_OFFLINE)
    inbox = Inbox(channel=channel, end=os._exit, load=LoadSpeechModel, work=Transcribe)
    inbox.start()

    from inglenook.workers.speech.transcriber import load_model
    from inglenook.workers.speech.worker import Worker

    return Worker(channel=channel, inbox=inbox, load=load_model, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
