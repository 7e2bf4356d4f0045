# SPDX-License-Identifier: Apache-2.0
"""A worker that is as bad as it is told to be: `python -m inglenook.testing.child BEHAVIOUR`.

A real process that speaks the wire of the image worker and knows no tensor library, so that it starts in a
fraction of a second. Without an argument the behaviour is taken from the path of the model that it is asked
to load, so that it can stand in for the image worker itself.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Final

from inglenook.wire.channel import TOKEN_ENV, WIRE_ENV, PeerGone, WorkerChannel
from inglenook.wire.image import (
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    LoadImageModel,
    PictureMade,
    Progress,
    ToImageWorker,
)
from inglenook.wire.message import Cancel, Hello, Loaded, LoadFailed, OutOfMemory, Shutdown, encode

EXIT_AT_START: Final = 3
EXIT_PEER_GONE: Final = 4
CHATTY_LINES: Final = 1000
LONG_LINE_BYTES: Final = 1_000_000
PICTURE: Final = b"not really a picture"
OUT_OF_MEMORY: Final = OutOfMemory(requested_bytes=3_000, free_bytes=1_000, total_bytes=8_000)
IDLE_PROGRAM: Final = "import signal, sys; print('ready', flush=True); signal.pause()"
STUBBORN_PROGRAM: Final = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {IDLE_PROGRAM}"


class Behaviour(StrEnum):
    NORMAL = "normal"
    SLOW_START = "slow_start"  # loads when somebody opens the pipe `go` in its spool folder for writing
    NEVER_READY = "never_ready"
    EXIT_AT_START = "exit_at_start"  # before its first word
    REFUSES_TO_LOAD = "refuses_to_load"
    OUT_OF_MEMORY = "out_of_memory"  # while it loads, with the allocator's word for it
    ANSWERS_WRONGLY = "answers_wrongly"  # to the order to load
    WRONG_PROTOCOL = "wrong_protocol"
    TALKS_NONSENSE = "talks_nonsense"  # instead of an answer to a Draw
    DIES_IN_MID_LINE = "dies_in_mid_line"  # of its answer to a Draw
    CLOSES_WIRE = "closes_wire"  # at work, and then hangs
    CRASHES = "crashes"  # at work, by SIGSEGV
    FINISHES_THEN_CRASHES = "finishes_then_crashes"  # one picture is made before the SIGSEGV
    DRAWS_FOR_EVER = "draws_for_ever"  # one step after another, until it is cancelled
    IGNORES_CANCEL = "ignores_cancel"
    IGNORES_SIGTERM = "ignores_sigterm"
    GRANDCHILD = "grandchild"  # starts a process that ignores SIGTERM, and prints its number
    ESCAPED_GRANDCHILD = "escaped_grandchild"  # in a session of its own, holding our output
    CHATTY = "chatty"
    LONG_LINE = "long_line"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def start_grandchild(*, session: bool) -> int:
    """A process that ignores SIGTERM from its first moment that anybody can see; returns its number."""
    program = IDLE_PROGRAM if session else STUBBORN_PROGRAM
    made = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=None if session else subprocess.PIPE,
        start_new_session=session,
    )
    if made.stdout is not None:
        made.stdout.readline()
    return made.pid


class ScriptedWorker:
    """Args:
    behaviour: None to take it from the path of the model.
    """

    def __init__(self, channel: "ScriptedChannel", behaviour: Behaviour | None) -> None:
        self._channel = channel
        self._behaviour = behaviour
        self._cancelled: set[str] = set()
        self._changed = threading.Condition()
        self._inbox: list[LoadImageModel | Draw | Shutdown] = []

    def run(self) -> int:
        threading.Thread(target=self._read, daemon=True).start()
        load = self._next()
        if not isinstance(load, LoadImageModel):
            return 0
        if self._behaviour is None:
            self._behaviour = Behaviour(Path(load.path).name)
        if not self._load(load, self._behaviour):
            return 1
        while isinstance(work := self._next(), Draw):
            self._draw(work, Path(load.spool), self._behaviour)
        return 0

    def _read(self) -> None:
        try:
            while True:
                message = self._channel.receive()
                with self._changed:
                    if isinstance(message, Cancel):
                        self._cancelled.add(message.job)
                    elif isinstance(message, LoadImageModel | Draw | Shutdown):
                        self._inbox.append(message)
                    self._changed.notify_all()
        except PeerGone:
            if self._behaviour is not Behaviour.CLOSES_WIRE:
                os._exit(EXIT_PEER_GONE)

    def _next(self) -> LoadImageModel | Draw | Shutdown:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._inbox))
            return self._inbox.pop(0)

    def _load(self, load: LoadImageModel, behaviour: Behaviour) -> bool:
        say(f"load {encode(load).decode().strip()}")
        match behaviour:
            case Behaviour.ANSWERS_WRONGLY:
                self._channel.send(Drawn(job="none", seconds=0.0, saving=0))
            case Behaviour.NEVER_READY:
                hang()
            case Behaviour.SLOW_START:
                gate = Path(load.spool) / "go"
                os.mkfifo(gate)
                gate.open().close()  # blocks until somebody opens the other end
            case Behaviour.REFUSES_TO_LOAD:
                self._channel.send(LoadFailed(code="load.corrupt", message="it is no model"))
                return False
            case Behaviour.OUT_OF_MEMORY:
                failed = LoadFailed(code="load.out_of_memory", message="full", out_of_memory=OUT_OF_MEMORY)
                self._channel.send(failed)
                return False
            case Behaviour.GRANDCHILD | Behaviour.ESCAPED_GRANDCHILD:
                session = behaviour is Behaviour.ESCAPED_GRANDCHILD
                say(f"grandchild {start_grandchild(session=session)}")
            case Behaviour.CHATTY:
                for number in range(CHATTY_LINES):
                    say(f"line {number}")
            case Behaviour.LONG_LINE:
                say("x" * LONG_LINE_BYTES)
                say("after the long line")
            case _:
                pass
        self._channel.send(Loaded(seconds=0.0, weights_bytes=1))
        return True

    def _draw(self, draw: Draw, spool: Path, behaviour: Behaviour) -> None:
        match behaviour:
            case Behaviour.CRASHES:
                crash()
            case Behaviour.FINISHES_THEN_CRASHES:
                self._picture(draw, spool, 0)
                crash()
            case Behaviour.CLOSES_WIRE:
                self._channel.shut()
                hang()
            case Behaviour.TALKS_NONSENSE:
                self._channel.say_raw(b'{"kind": "surprise"}\n')
            case Behaviour.DIES_IN_MID_LINE:
                self._channel.say_raw(encode(Drawn(job=draw.job, seconds=0.0, saving=0))[:-7])
                crash()
            case Behaviour.DRAWS_FOR_EVER | Behaviour.IGNORES_CANCEL:
                self._steps_without_end(draw, heeds=behaviour is Behaviour.DRAWS_FOR_EVER)
            case _:
                self._finish(draw, spool)

    def _finish(self, draw: Draw, spool: Path) -> None:
        if draw.prompt == "fail":
            self._channel.send(DrawFailed(job=draw.job, code="draw.failed", message="as it was told"))
            return
        for step in range(1, draw.steps + 1):
            self._progress(draw, step)
        for picture in range(len(draw.seeds)):
            self._picture(draw, spool, picture)
        self._channel.send(Drawn(job=draw.job, seconds=0.0, saving=0))

    def _steps_without_end(self, draw: Draw, *, heeds: bool) -> None:
        self._progress(draw, 1)
        with self._changed:
            self._changed.wait_for(lambda: heeds and draw.job in self._cancelled)
        self._channel.send(DrawCancelled(job=draw.job, picture=0, step=2))

    def _progress(self, draw: Draw, step: int) -> None:
        said = Progress(
            job=draw.job, stage="denoise", picture=0, pictures=len(draw.seeds), step=step, steps=draw.steps
        )
        self._channel.send(said)

    def _picture(self, draw: Draw, spool: Path, picture: int) -> None:
        name = f"{draw.job}-{picture}.png"
        (spool / name).write_bytes(PICTURE)
        made = PictureMade(
            job=draw.job, picture=picture, seed=draw.seeds[picture], file=name,
            width=draw.width, height=draw.height, seconds=0.0,
        )  # fmt: skip
        self._channel.send(made)


class ScriptedChannel(WorkerChannel):
    """A worker's channel that can also misbehave."""

    def say_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def shut(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)


def crash() -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    while True:
        signal.pause()


def speak_wrongly() -> None:
    """Say Hello in another protocol, and wait to be ended."""
    kind, _, path = os.environ[WIRE_ENV].partition(":")
    assert kind == "unix"
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        hello = Hello(protocol=0, worker="scripted", pid=os.getpid(), token=os.environ[TOKEN_ENV])
        wire.sendall(encode(hello))
        hang()


def main(arguments: list[str]) -> int:
    behaviour = Behaviour(arguments[0]) if arguments else None
    match behaviour:
        case Behaviour.IGNORES_SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case Behaviour.EXIT_AT_START:
            say("I do not feel like it")
            return EXIT_AT_START
        case Behaviour.WRONG_PROTOCOL:
            speak_wrongly()
        case _:
            pass
    channel = ScriptedChannel.from_environment("scripted", ToImageWorker)
    assert isinstance(channel, ScriptedChannel)
    return ScriptedWorker(channel, behaviour).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
