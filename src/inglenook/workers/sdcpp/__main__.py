# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.sdcpp`: connect, say Hello, and only then import anything."""

import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.image import ToImageWorker
from inglenook.workers.beginning import connected
from inglenook.workers.image.inbox import Inbox


def main() -> int:
    channel = connected("sdcpp", ToImageWorker)
    inbox = Inbox(channel=channel, end=os._exit)
    inbox.start()

    from inglenook.workers.sdcpp.worker import Worker

    return Worker(channel=channel, inbox=inbox, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
