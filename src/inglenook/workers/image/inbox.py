# SPDX-License-Identifier: Apache-2.0
"""The image worker's inbox: `Draw` after `Draw`."""

from collections.abc import Callable

from inglenook.wire.image import Draw, LoadImageModel
from inglenook.workers.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, EXIT_PROTOCOL, Receiver
from inglenook.workers.inbox import Inbox as AnyInbox

__all__ = ["EXIT_DONE", "EXIT_LOAD_FAILED", "EXIT_PEER_GONE", "EXIT_PROTOCOL", "Inbox"]


class Inbox(AnyInbox[LoadImageModel, Draw]):
    def __init__(self, *, channel: Receiver, end: Callable[[int], None]) -> None:
        super().__init__(channel=channel, end=end, load=LoadImageModel, work=Draw)
