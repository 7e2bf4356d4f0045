# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.speech`: connect, say Hello, and only then import what takes seconds."""

import logging
import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import WorkerChannel
from inglenook.wire.message import WireError
from inglenook.wire.speech import LoadSpeechModel, ToSpeechWorker, Transcribe
from inglenook.workers.inbox import Inbox

QUIET_AND_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "YES",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CT2_VERBOSE": "-1",  # errors only
}


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # it tells languages and lengths
    os.environ.update(QUIET_AND_OFFLINE)  # read by the libraries at import, so it has to come before them
    try:
        channel = WorkerChannel.from_environment("speech", ToSpeechWorker)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    inbox = Inbox(channel=channel, end=os._exit, load=LoadSpeechModel, work=Transcribe)
    inbox.start()

    from inglenook.workers.speech.transcriber import load_model
    from inglenook.workers.speech.worker import Worker

    return Worker(channel=channel, inbox=inbox, load=load_model, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
