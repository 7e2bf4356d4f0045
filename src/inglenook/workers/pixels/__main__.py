# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.pixels`: connect, say Hello, and only then import what takes long."""

import logging
import os
import sys
from pathlib import Path

from inglenook.base.clock import SystemClock
from inglenook.wire.message import Message
from inglenook.wire.pixels import OpenPixels, Pixelate, ToPixelsWorker, WriteSprites
from inglenook.workers.beginning import connected
from inglenook.workers.inbox import Inbox
from inglenook.workers.memory import bound_memory


def main() -> int:
    logging.getLogger("PIL").setLevel(logging.WARNING)
    channel = connected("pixels", ToPixelsWorker)
    inbox: Inbox[OpenPixels, Message] = Inbox(
        channel=channel, end=os._exit, load=OpenPixels, work=(Pixelate, WriteSprites)
    )
    inbox.start()

    from PIL import Image

    from inglenook.workers.pixels.worker import Worker

    Image.MAX_IMAGE_PIXELS = None  # each message says how many there may be

    worker = Worker(channel=channel, inbox=inbox, spool=Path.cwd(), bound=bound_memory, clock=SystemClock())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
