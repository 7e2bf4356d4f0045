# SPDX-License-Identifier: Apache-2.0
"""`python -m inglenook.workers.studio`: connect, say Hello, and only then import what takes seconds."""

import os
import sys
from typing import Any, get_args

from inglenook.base.clock import SystemClock
from inglenook.wire.studio.messages import StudioWork, ToStudioWorker
from inglenook.wire.studio.training import OpenStudio, Park, Unpark
from inglenook.workers.beginning import OFFLINE, connected
from inglenook.workers.inbox import Inbox
from inglenook.workers.studio.gate import Gate

QUIET = {
    **OFFLINE,
    "TRANSFORMERS_VERBOSITY": "error",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # read once, when CUDA begins; `deterministic` needs it
}


def main() -> int:
    channel = connected("studio", ToStudioWorker, QUIET)
    clock = SystemClock()
    gate = Gate(
        send=channel.send,
        should_stop=lambda: inbox.should_stop(),  # noqa: PLW0108 - the inbox is made below
        clock=clock,
    )
    inbox: Inbox[OpenStudio, Any] = Inbox(
        channel=channel,
        end=os._exit,
        load=OpenStudio,
        work=get_args(StudioWork),
        control=(Park, Unpark),
        steer=gate.wish,
    )
    inbox.start()

    from inglenook.workers.studio.worker import Worker

    return Worker(channel=channel, inbox=inbox, gate=gate, clock=clock).run()


if __name__ == "__main__":
    sys.exit(main())
