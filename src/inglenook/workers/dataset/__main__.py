# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.dataset`: connect, say Hello, and read what the server names."""

import logging
import os
import sys
from pathlib import Path

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import WorkerChannel
from inglenook.wire.message import WireError
from inglenook.wire.studio.dataset import DatasetWork, OpenDataset, ToDatasetWorker
from inglenook.workers.inbox import Inbox
from inglenook.workers.memory import bound_memory


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("PIL").setLevel(logging.WARNING)
    try:
        channel = WorkerChannel.from_environment("dataset", ToDatasetWorker)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    inbox = Inbox(channel=channel, end=os._exit, load=OpenDataset, work=DatasetWork)
    inbox.start()

    from inglenook.workers.dataset.worker import Worker

    worker = Worker(channel=channel, inbox=inbox, spool=Path.cwd(), bound=bound_memory, clock=SystemClock())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
