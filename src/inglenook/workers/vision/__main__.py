# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.vision`: connect, say Hello, and only then import what takes long."""

import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.vision import LoadVisionModel, Matte, Predict, ToVisionWorker
from inglenook.workers.beginning import connected
from inglenook.workers.inbox import Inbox


def main() -> int:
    channel = connected("vision", ToVisionWorker)
    inbox: Inbox[LoadVisionModel, Predict | Matte] = Inbox(
        channel=channel, end=os._exit, load=LoadVisionModel, work=(Predict, Matte)
    )
    inbox.start()

    from inglenook.workers.vision.network import Network
    from inglenook.workers.vision.worker import Worker

    return Worker(channel=channel, inbox=inbox, load=Network, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
