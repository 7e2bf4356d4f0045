# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.mlx.convert`: connect, say Hello, and only then import MLX."""

import logging
import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.channel import WorkerChannel
from inglenook.wire.message import WireError
from inglenook.wire.mlx import ConvertModel, OpenConverter, ToConverter
from inglenook.workers.inbox import Inbox


def main() -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        channel = WorkerChannel.from_environment("mlx-convert", ToConverter)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    inbox: Inbox[OpenConverter, ConvertModel] = Inbox(
        channel=channel, end=os._exit, load=OpenConverter, work=ConvertModel
    )
    inbox.start()

    from inglenook.workers.mlx.convert.worker import Worker

    return Worker(channel=channel, inbox=inbox, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
