# SPDX-License-Identifier: Apache-2.0
"""A llama.cpp server that holds no weights and is as bad as it is told to be.

    python -m inglenook.testing.llama FILE

A real process in the place of `inglenook.workers.llama`: it reads the same `Launch`, listens on the same
socket, and speaks the parts of llama.cpp's HTTP that we use. What it does stands in the name of the model's
file (`dies_in_stream.gguf`; any other name is `normal`), or, for one request, in the body's field `script`.

Its answers are made of the words of `ANSWER`, one a token, as many as `max_tokens` (or `n_predict`) says, at
most those that there are. `GET /asked` lists every request that it was sent, the newest last; `GET /probed`
how often its slots were asked for, `GET /given-up` how many streams were left; `POST /go` lets what waits
go on.
"""

import json
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import msgspec

from inglenook.wire.llama import Launch, LoadLanguageModel

ANSWER: Final = ("Once", " there", " was", " a", " fire", " for", " everything", ".")
EXIT_AT_START: Final = 3
CHATTY_LINES: Final = 2500
SLOW_S: Final = 0.05
"""Between two tokens of `slow`."""
COLUMNS: Final = 4
"""Of an embedding."""

OUT_OF_MEMORY_LINES: Final = (
    (
        "0.01.000.001 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 24576.00 MiB on device 0: "
        "cudaMalloc failed: out of memory"
    ),
    "0.01.000.002 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 25769803776",
    "0.01.000.003 E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
    "0.01.000.004 E srv    load_model: failed to load model, '/models/a.gguf'",
)
CORRUPT_LINES: Final = (
    "0.01.000.001 E llama_model_load: error loading model: missing tensor 'blk.0.attn_norm.weight'",
    "0.01.000.002 E srv    load_model: failed to load model, '/models/a.gguf'",
)


class LlamaBehaviour(StrEnum):
    NORMAL = "normal"
    CHATTY = "chatty"  # prints `CHATTY_LINES` lines before it is ready
    SLOW_START = "slow_start"  # is ready when somebody opens the pipe `go` in its working folder for writing
    NEVER_READY = "never_ready"  # loads for ever
    NO_FIRST_TOKEN = "no_first_token"  # noqa: S105 - healthy, and computes for ever
    EXIT_AT_START = "exit_at_start"
    OUT_OF_MEMORY = "out_of_memory"  # while it loads, with an allocator's lines
    CORRUPT = "corrupt"  # refuses the file in llama.cpp's words
    ECHO = "echo"  # answers with the body that it was sent
    SLOW = "slow"  # a token each `SLOW_S`
    WAITS = "waits"  # after its first token, until `POST /go`
    DIES_IN_STREAM = "dies_in_stream"  # by SIGSEGV, after two tokens
    OUT_OF_MEMORY_AT_WORK = (
        "out_of_memory_at_work"  # prints an allocator's lines after two tokens, and aborts
    )
    CUTS_OFF = "cuts_off"  # closes the connection after two tokens, and lives on
    HANGS = "hangs"  # after two tokens it answers nobody any more, without using the processor
    COMPUTES = (
        "computes"  # after two tokens it uses the processor and answers nothing but health, until `POST /go`
    )
    PINGS = "pings"  # sends llama.cpp's sign of life and no token, until `POST /go`
    REFUSES = "refuses"  # answers 400 in llama.cpp's words


def say(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def crash(number: int = signal.SIGSEGV) -> None:
    os.kill(os.getpid(), number)
    hang()


class State:
    """What the process knows, shared by its threads."""

    def __init__(self, launch: Launch, behaviour: LlamaBehaviour) -> None:
        self.load = launch.load
        self.key = launch.key
        self.behaviour = behaviour
        self.ready = False
        self.working = 0
        self.given_up = 0
        self.probed = 0
        self.free = threading.Event()
        self.free.set()
        self.asked: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.gone_on = 0
        self.hanging = threading.Event()

    def wait_for_go(self, seen: int) -> None:
        """Until there has been one after the first `seen`."""
        with self.changed:
            self.changed.wait_for(lambda: self.gone_on > seen)

    def go(self) -> None:
        with self.changed:
            self.gone_on += 1
            self.changed.notify_all()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State
    gone_on = 0
    """How often it had been told to go on when the answer began: whoever has read its first word may say so
    before this thread waits for it."""

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are not printed: llama.cpp does not either."""

    def do_GET(self) -> None:
        state, load = self.state, self.state.load
        if state.hanging.is_set():
            hang()
        if not self._admitted():
            return
        match self.path.partition("?")[0]:
            case "/health" | "/v1/health":
                self._health()
            case "/asked":
                self._json(state.asked)
            case "/props":
                self._json(self._props())
            case "/probed":
                self._json(state.probed)
            case "/slots":
                state.probed += 1
                state.free.wait()
                busy = [index < state.working for index in range(load.parallel)]
                self._json([{"id": i, "n_ctx": load.context, "is_processing": b} for i, b in enumerate(busy)])
            case "/v1/models" | "/models":
                card = {"id": load.alias, "object": "model", "owned_by": "llamacpp", "created": 0}
                self._json({"object": "list", "data": [card]})
            case "/given-up":
                self._json(state.given_up)
            case "/metrics":
                self._send(200, "text/plain; version=0.0.4", b"llamacpp:requests_processing 0\n")
            case _:
                self._error(404, "File Not Found", "not_found_error")

    def _admitted(self) -> bool:
        """Health is for everybody, all else for who shows the key."""
        key = self.state.key
        if key is None or self.path == "/health" or self.headers.get("authorization") == f"Bearer {key}":
            return True
        self._error(401, "Invalid API Key", "authentication_error")
        return False

    def _health(self) -> None:
        if self.state.ready:
            self._json({"status": "ok"})
        else:
            self._error(503, "Loading model", "unavailable_error")

    def _props(self) -> dict[str, Any]:
        load = self.state.load
        return {
            "default_generation_settings": {"n_ctx": load.context},
            "total_slots": load.parallel,
            "model_alias": load.alias,
            "model_path": load.path,
            "modalities": {"vision": load.mmproj is not None, "audio": False},
            "chat_template": "{{ messages }}",
        }

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if self.state.hanging.is_set():
            hang()
        if not self._admitted():
            return
        path = self.path.partition("?")[0]
        if path == "/go":
            self.state.go()
            self._json({})
            return
        asked: dict[str, Any] = {"path": path, "headers": {k.lower(): v for k, v in self.headers.items()}}
        try:
            asked["body"] = json.loads(body)
        except ValueError as error:
            self._error(400, f"parse error: {error}", "invalid_request_error")
            return
        self.state.asked.append(asked)
        self._work(path, asked["body"])

    def _work(self, path: str, body: dict[str, Any]) -> None:
        tell = TELLING.get(path)
        if path in ("/tokenize", "/detokenize", "/apply-template"):
            self._json(_helper(path, body))
        elif path in ("/v1/embeddings", "/embeddings", "/embedding"):
            self._json(_embeddings(path, body, self.state.load.alias))
        elif path in ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking"):
            self._json(_scores(body, self.state.load.alias))
        elif tell is None:
            self._error(404, "File Not Found", "not_found_error")
        else:
            with self.state.changed:
                self.state.working += 1
                self.gone_on = self.state.gone_on
            try:
                self._generate(tell(self.state.load.alias), body, self._script(body))
            finally:
                with self.state.changed:
                    self.state.working -= 1

    def _script(self, body: dict[str, Any]) -> LlamaBehaviour:
        """What this answer does; the engine's own first token always comes."""
        given = body.get("script")
        if given is not None:
            return LlamaBehaviour(given)
        if self.state.behaviour is LlamaBehaviour.NO_FIRST_TOKEN:
            hang()
        first = body.get("n_predict") == 1
        return LlamaBehaviour.NORMAL if first else self.state.behaviour

    # -- answers -------------------------------------------------------------------------------------

    def _generate(self, tell: "Teller", body: dict[str, Any], script: LlamaBehaviour) -> None:
        if script is LlamaBehaviour.REFUSES:
            text = "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"
            extra = {"n_prompt_tokens": 9000, "n_ctx": 4096}
            self._error(400, text, "exceed_context_size_error", **extra)
            return
        wanted = body.get("max_tokens") or body.get("max_completion_tokens") or body.get("n_predict")
        words = ANSWER[: wanted if isinstance(wanted, int) and wanted > 0 else len(ANSWER)]
        if script is LlamaBehaviour.ECHO:
            words = (json.dumps(body, ensure_ascii=False),)
        finish = "stop" if len(words) == len(ANSWER) or script is LlamaBehaviour.ECHO else "length"
        if body.get("stream"):
            self._stream(tell, words, finish, body, script)
            return
        for _ in self._paced(words, script):
            pass
        self._json(tell.whole(words, finish))

    def _stream(
        self,
        tell: "Teller",
        words: tuple[str, ...],
        finish: str,
        body: dict[str, Any],
        script: LlamaBehaviour,
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in tell.begin():
                self._chunk(event)
            for word in self._paced(words, script):
                self._chunk(tell.token(word))
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            for event in tell.end(words, finish, usage=usage):
                self._chunk(event)
            self._raw(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.state.given_up += 1
            self.close_connection = True

    def _paced(self, words: tuple[str, ...], script: LlamaBehaviour) -> Iterator[str]:
        """The words, at the pace and with the mishaps of the script."""
        if script is LlamaBehaviour.PINGS:
            self._raw(b"3\r\n:\n\n\r\n")
            self.state.wait_for_go(self.gone_on)
        for index, word in enumerate(words):
            if self._left():
                raise BrokenPipeError
            if index == 1 and script is LlamaBehaviour.WAITS:
                self._wait_or_leave()
            if index == 2:
                self._mishap(script)
            if script is LlamaBehaviour.SLOW:
                time.sleep(SLOW_S)
            yield word

    def _mishap(self, script: LlamaBehaviour) -> None:
        match script:
            case LlamaBehaviour.DIES_IN_STREAM:
                crash()
            case LlamaBehaviour.OUT_OF_MEMORY_AT_WORK:
                say(*OUT_OF_MEMORY_LINES[:2])
                crash(signal.SIGABRT)
            case LlamaBehaviour.CUTS_OFF:
                self.connection.shutdown(socket.SHUT_RDWR)
                raise BrokenPipeError
            case LlamaBehaviour.COMPUTES:
                self.state.free.clear()
                self._compute()
                self.state.free.set()
            case LlamaBehaviour.HANGS:
                self.state.hanging.set()
                hang()
            case _:
                pass

    def _compute(self) -> None:
        while self.state.gone_on == self.gone_on:
            sum(range(1000))

    def _wait_or_leave(self) -> None:
        waiting = threading.Thread(target=self.state.wait_for_go, args=(self.gone_on,), daemon=True)
        waiting.start()
        while waiting.is_alive():
            waiting.join(0.01)
            if self._left():
                raise BrokenPipeError

    def _left(self) -> bool:
        """Whether the client has closed its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _chunk(self, event: str) -> None:
        data = f"{event}\n\n".encode()
        self._raw(b"%x\r\n%s\r\n" % (len(data), data))

    def _raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, "application/json; charset=utf-8", json.dumps(value).encode())

    def _error(self, status: int, message: str, kind: str, **extra: object) -> None:
        self._json({"error": {"code": status, "message": message, "type": kind, **extra}}, status)

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Teller:
    """How one of llama.cpp's routes tells of an answer. This one: `/v1/chat/completions`."""

    def __init__(self, model: str) -> None:
        self.model = model

    def _event(self, **fields: object) -> str:
        return f"data: {json.dumps(fields)}"

    def _delta(self, delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self._event(
            choices=[choice], created=1, id="chatcmpl-1", model=self.model, object="chat.completion.chunk"
        )

    def begin(self) -> list[str]:
        return [self._delta({"role": "assistant", "content": None})]

    def token(self, word: str) -> str:
        return self._delta({"content": word})

    def end(self, words: tuple[str, ...], finish: str, *, usage: bool) -> list[str]:
        told = [self._delta({}, finish)]
        if usage:
            told.append(
                self._event(
                    choices=[], created=1, id="chatcmpl-1", model=self.model, object="chat.completion.chunk",
                    usage=_usage(words), timings=_timings(words),
                )
            )  # fmt: skip
        return [*told, "data: [DONE]"]

    def whole(self, words: tuple[str, ...], finish: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(words)}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "created": 1, "id": "chatcmpl-1", "model": self.model, "object": "chat.completion",
            "usage": _usage(words), "timings": _timings(words),
        }  # fmt: skip


class Completion(Teller):
    """`/v1/completions`."""

    def begin(self) -> list[str]:
        return []

    def _text(self, text: str, finish: str | None = None, **more: object) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return {
            "choices": [choice], "created": 1, "id": "cmpl-1", "model": self.model,
            "object": "text_completion",
            **more,
        }  # fmt: skip

    def token(self, word: str) -> str:
        return self._event(**self._text(word))

    def end(self, words: tuple[str, ...], finish: str, *, usage: bool) -> list[str]:
        more = {"usage": _usage(words), "timings": _timings(words)} if usage else {}
        return [self._event(**self._text("", finish, **more)), "data: [DONE]"]

    def whole(self, words: tuple[str, ...], finish: str) -> dict[str, Any]:
        return self._text("".join(words), finish, usage=_usage(words), timings=_timings(words))


class Native(Teller):
    """llama.cpp's own `/completion`."""

    def begin(self) -> list[str]:
        return []

    def token(self, word: str) -> str:
        return self._event(content=word, stop=False, tokens_predicted=1, index=0)

    def end(self, words: tuple[str, ...], finish: str, *, usage: bool) -> list[str]:  # noqa: ARG002
        return [f"data: {json.dumps(self.whole((), finish) | {'tokens_predicted': len(words)})}"]

    def whole(self, words: tuple[str, ...], finish: str) -> dict[str, Any]:
        return {
            "content": "".join(words), "stop": True, "model": self.model, "tokens_predicted": len(words),
            "tokens_evaluated": 3, "stop_type": "eos" if finish == "stop" else "limit",
            "timings": _timings(words),
        }  # fmt: skip


TELLING: Final[dict[str, type[Teller]]] = {
    "/v1/chat/completions": Teller,
    "/chat/completions": Teller,
    "/v1/completions": Completion,
    "/completions": Native,
    "/completion": Native,
}


def _usage(words: tuple[str, ...]) -> dict[str, Any]:
    return {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}


def _timings(words: tuple[str, ...]) -> dict[str, Any]:
    return {
        "cache_n": 0, "prompt_n": 3, "prompt_ms": 3.0, "prompt_per_second": 1000.0,
        "predicted_n": len(words), "predicted_ms": 10.0 * len(words), "predicted_per_second": 100.0,
    }  # fmt: skip


def _helper(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A token is a byte."""
    match path:
        case "/tokenize":
            return {"tokens": list(str(body.get("content", "")).encode())}
        case "/detokenize":
            return {"content": bytes(body.get("tokens", [])).decode("utf-8", "replace")}
        case _:
            return {"prompt": "".join(f"{m['role']}: {m['content']}\n" for m in body.get("messages", []))}


def _embeddings(path: str, body: dict[str, Any], model: str) -> Any:
    """The same text has the same vector, of length 1; `COLUMNS` numbers."""
    given = body.get("input", body.get("content", ""))
    texts = given if isinstance(given, list) else [given]
    vectors = [_vector(str(text)) for text in texts]
    if path != "/v1/embeddings":
        return [{"index": i, "embedding": [vector]} for i, vector in enumerate(vectors)]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    tokens = sum(len(str(text)) for text in texts)
    return {
        "object": "list", "model": model, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }  # fmt: skip


def _vector(text: str) -> list[float]:
    counts = [1.0 + sum(1 for byte in text.encode() if byte % COLUMNS == i) for i in range(COLUMNS)]
    length = sum(count * count for count in counts) ** 0.5
    return [count / length for count in counts]


def _scores(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The longer a document, the better."""
    documents = body.get("documents", body.get("texts", []))
    results = [{"index": i, "relevance_score": float(len(str(text)))} for i, text in enumerate(documents)]
    return {
        "object": "list",
        "model": model,
        "results": results,
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


def hang() -> None:
    threading.Event().wait()


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True


def behaviour_of(load: LoadLanguageModel) -> LlamaBehaviour:
    name = Path(load.path).stem
    return LlamaBehaviour(name) if name in set(LlamaBehaviour) else LlamaBehaviour.NORMAL


def main() -> int:
    launch = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Launch)
    state = State(launch, behaviour_of(launch.load))
    say(f"0.00.000.001 I srv    load_model: loading model '{launch.load.path}'")
    match state.behaviour:
        case LlamaBehaviour.EXIT_AT_START:
            say("I do not feel like it")
            return EXIT_AT_START
        case LlamaBehaviour.OUT_OF_MEMORY:
            say(*OUT_OF_MEMORY_LINES)
            return 1
        case LlamaBehaviour.CORRUPT:
            say(*CORRUPT_LINES)
            return 1
        case LlamaBehaviour.CHATTY:
            say(*(f"0.00.000.002 I line {number}" for number in range(CHATTY_LINES)))
        case _:
            pass
    Handler.state = state
    server: socketserver.BaseServer
    if launch.socket is not None:
        server = UnixServer(launch.socket, Handler)
    else:
        server = TcpServer(("127.0.0.1", launch.port or 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    if state.behaviour is LlamaBehaviour.SLOW_START:
        os.mkfifo("go")
        Path("go").open().close()  # blocks until somebody opens the other end
    if state.behaviour is not LlamaBehaviour.NEVER_READY:
        state.ready = True
        say("0.00.000.003 I srv          init: model loaded")
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
