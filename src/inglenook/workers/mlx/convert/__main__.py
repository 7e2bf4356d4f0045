# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.mlx.convert`: connect, say Hello, and only then import MLX."""

import os
import sys

from inglenook.base.clock import SystemClock
from inglenook.wire.mlx import ConvertModel, OpenConverter, ToConverter
from inglenook.workers.beginning import connected
from inglenook.workers.inbox import Inbox


def main() -> int:
    channel = connected("mlx-convert", ToConverter)
    inbox: Inbox[OpenConverter, ConvertModel] = Inbox(
        channel=channel, end=os._exit, load=OpenConverter, work=ConvertModel
    )
    inbox.start()

    from inglenook.workers.mlx.convert.worker import Worker

    return Worker(channel=channel, inbox=inbox, clock=SystemClock()).run()


if __name__ == "__main__":
    sys.exit(main())
