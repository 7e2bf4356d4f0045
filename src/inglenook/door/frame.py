# SPDX-License-Identifier: Apache-2.0
"""Put the door around an application: one call, so that none of its parts can be forgotten."""

from collections.abc import Iterable, Mapping

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.clock import Clock
from inglenook.door.caller import Identity, require_closed
from inglenook.door.guard import Guard
from inglenook.door.problem import CatchUnexpected, Problem, Renderer, handlers


def frame(
    app: FastAPI,
    *,
    identity: Identity,
    renderers: Mapping[str, Renderer],
    allowed_hosts: Iterable[str],
    max_body_bytes: int,
    clock: Clock,
    body_limits: Mapping[str, tuple[int, str]] | None = None,
) -> None:
    """Call it once, after every route has been added.

    Args:
        renderers: by the beginning of the path, how errors are written there; the longest that fits is taken,
            and `""` must be among them.
        body_limits: as `Guard` takes them.

    Raises:
        RuntimeError: a route is open that is not meant to be.
    """
    require_closed(app)
    render = by_path(renderers)
    app.state.identity = identity
    for error, handler in handlers(render).items():
        app.add_exception_handler(error, handler)
    # The one added last is the outermost.
    app.add_middleware(CatchUnexpected, render=render)
    app.add_middleware(
        Guard,
        allowed_hosts=tuple(allowed_hosts),
        max_body_bytes=max_body_bytes,
        render=render,
        clock=clock,
        body_limits=body_limits,
    )


def by_path(renderers: Mapping[str, Renderer]) -> Renderer:
    """One renderer that hands on to the one for the path."""
    if "" not in renderers:
        raise ValueError('a renderer for "" must say how errors look outside the named paths')
    prefixes = sorted(renderers, key=len, reverse=True)

    def render(request: Request, problem: Problem) -> Response:
        path = request.url.path
        return renderers[next(prefix for prefix in prefixes if path.startswith(prefix))](request, problem)

    return render
