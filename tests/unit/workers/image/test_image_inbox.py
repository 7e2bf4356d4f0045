# SPDX-License-Identifier: Apache-2.0
"""The reading thread's rules, run on this thread over a list of messages."""

from tests.unit.workers.image.bench import a_draw

from inglenook.wire.channel import PeerGone
from inglenook.wire.image import Cancel, Draw, LoadImageModel, Shutdown
from inglenook.wire.message import Message
from inglenook.workers.image.inbox import EXIT_DONE, EXIT_PEER_GONE, EXIT_PROTOCOL, Inbox

LOAD = LoadImageModel(path="m", layout="folder", family="sd1", device="cpu", dtype="float32", spool="s")


class Script:
    """A wire that says these messages and then closes."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    def receive(self) -> Message:
        if not self._messages:
            raise PeerGone("closed")
        return self._messages.pop(0)


def read(*messages: Message) -> tuple[Inbox, list[int]]:
    """An inbox that has read all messages and the end of the wire; the statuses it would have ended with."""
    ends: list[int] = []
    inbox = Inbox(channel=Script(*messages), end=ends.append)
    inbox.read()
    return inbox, ends


def test_the_end_of_the_wire_ends_the_process() -> None:
    assert read(LOAD)[1] == [EXIT_PEER_GONE]


def test_a_cancel_of_the_job_in_hand_stops_it_even_before_it_was_begun() -> None:
    inbox, _ = read(LOAD, a_draw(job="a"), Cancel(job="a"))
    assert isinstance(inbox.next(), LoadImageModel)
    assert isinstance(inbox.next(), Draw)
    assert inbox.should_stop()
    inbox.finished()
    assert not inbox.should_stop()


def test_a_cancel_of_another_job_is_ignored() -> None:
    inbox, ends = read(LOAD, a_draw(job="a"), Cancel(job="b"))
    assert not inbox.should_stop()
    assert ends == [EXIT_PEER_GONE]


def test_a_cancel_that_comes_before_its_job_is_ignored() -> None:
    inbox, _ = read(LOAD, Cancel(job="a"), a_draw(job="a"))
    assert not inbox.should_stop()


def test_a_second_draw_before_the_last_word_of_the_first_is_a_protocol_error() -> None:
    assert read(LOAD, a_draw(job="a"), a_draw(job="b"))[1] == [EXIT_PROTOCOL]


def test_a_draw_before_any_load_is_a_protocol_error() -> None:
    assert read(a_draw(job="a"))[1] == [EXIT_PROTOCOL]


def test_a_second_load_is_a_protocol_error() -> None:
    assert read(LOAD, LOAD)[1] == [EXIT_PROTOCOL]


def test_a_shutdown_stops_the_job_in_hand_and_reaches_the_main_thread() -> None:
    ends: list[int] = []
    inbox = Inbox(channel=Script(LOAD, a_draw(job="a"), Shutdown()), end=ends.append)
    inbox.loaded()
    inbox.read()
    assert inbox.should_stop()
    assert [type(inbox.next()) for _ in range(3)] == [LoadImageModel, Draw, Shutdown]
    assert ends == [EXIT_PEER_GONE]


def test_a_shutdown_while_the_model_loads_ends_at_once() -> None:
    assert read(LOAD, Shutdown())[1][0] == EXIT_DONE
