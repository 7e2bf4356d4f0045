# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.sdcpp`: connect, say Hello, and only then import anything."""

import logging
import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import WorkerChannel
from inglenook.wire.image import ToImageWorker
from inglenook.wire.message import WireError
from inglenook.workers.image.inbox import Inbox


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        channel = WorkerChannel.from_environment("sdcpp", ToImageWorker)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    inbox = Inbox(channel=channel, end=os._exit)
    inbox.start()

    from inglenook.workers.sdcpp.worker import Worker

    return Worker(channel=channel, inbox=inbox, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
