# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.dataset`: connect, say Hello, and read what the server names."""

import logging
import os
import sys
from pathlib import Path

from inglenook.base.clock import SystemClock
from inglenook.wire.studio.dataset import DatasetWork, OpenDataset, ToDatasetWorker
from inglenook.workers.beginning import connected
from inglenook.workers.inbox import Inbox
from inglenook.workers.memory import bound_memory


def main() -> int:
    logging.getLogger("PIL").setLevel(logging.WARNING)
    channel = connected("dataset", ToDatasetWorker)
    inbox = Inbox(channel=channel, end=os._exit, load=OpenDataset, work=DatasetWork)
    inbox.start()

    from inglenook.workers.dataset.worker import Worker

    worker = Worker(channel=channel, inbox=inbox, spool=Path.cwd(), bound=bound_memory, clock=SystemClock())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
