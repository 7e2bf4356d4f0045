# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.pixels`: connect, say Hello, and only then import what takes long."""

import logging
import os
import sys
from pathlib import Path

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import WorkerChannel
from inglenook.wire.message import Message, WireError
from inglenook.wire.pixels import OpenPixels, Pixelate, ToPixelsWorker, WriteSprites
from inglenook.workers.inbox import Inbox
from inglenook.workers.memory import bound_memory


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("PIL").setLevel(logging.WARNING)
    try:
        channel = WorkerChannel.from_environment("pixels", ToPixelsWorker)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
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
