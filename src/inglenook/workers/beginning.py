# SPDX-License-Identifier: Apache-2.0
"""How every worker of ours begins: its log, what its libraries read at import, the wire."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from inglenook.wire.channel import WorkerChannel
from inglenook.wire.message import WireError

EXIT_NO_WIRE: Final = 2

OFFLINE: Final[Mapping[str, str]] = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "YES",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Hugging Face's libraries ask nobody and draw no bars."""


def connected(worker: str, messages: Any, environment: Mapping[str, str] = {}) -> WorkerChannel:
    """The wire to the server, on which this worker has said its name. Nothing heavy is imported before it.

    Args:
        messages: the union of what the server may say.
        environment: is set first, for libraries read theirs at import.

    Raises:
        SystemExit: this process was not started by a server; why stands on stderr.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.environ.update(environment)
    try:
        return WorkerChannel.from_environment(worker, messages)
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_NO_WIRE) from None
