# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.image`: connect, say Hello, and only then import what takes seconds."""

import logging
import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import WorkerChannel
from inglenook.wire.image import ToImageWorker
from inglenook.wire.message import WireError
from inglenook.workers.image.inbox import Inbox

QUIET_AND_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DIFFUSERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "YES",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.environ.update(QUIET_AND_OFFLINE)  # read by the libraries at import, so it has to come before them
    try:
        channel = WorkerChannel.from_environment("image", ToImageWorker)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    inbox = Inbox(channel=channel, end=os._exit)
    inbox.start()

    from inglenook.workers.image import amd
    from inglenook.workers.image.families.registry import load_family
    from inglenook.workers.image.worker import Worker

    amd.prepare(os.environ)
    return Worker(channel=channel, inbox=inbox, load=load_family, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
