# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.image`: connect, say Hello, and only then import what takes seconds."""

import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.image import ToImageWorker
from inglenook.workers.beginning import OFFLINE, connected
from inglenook.workers.image.inbox import Inbox

QUIET_AND_OFFLINE = {
    **OFFLINE,
    "TRANSFORMERS_OFFLINE": "1",
    "DIFFUSERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def main() -> int:
    channel = connected("image", ToImageWorker, QUIET_AND_OFFLINE)
    inbox = Inbox(channel=channel, end=os._exit)
    inbox.start()

    from inglenook.workers.image import amd
    from inglenook.workers.image.families.registry import load_family
    from inglenook.workers.image.worker import Worker

    amd.prepare(os.environ)
    return Worker(channel=channel, inbox=inbox, load=load_family, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
