# SPDX-License-Identifier: Apache-2.0
"""The server's own address as the client knows it."""

from starlette.requests import Request

_SCHEMES = ("http", "https")


def base_url(request: Request) -> str:
    """Scheme and host with a final slash, for addresses that an answer holds.

    The host is the one that the client asked for, which the guard has found to be ours. Behind a proxy that
    speaks TLS the scheme is the one that `X-Forwarded-Proto` names; whoever writes that header changes no
    answer but their own.
    """
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    scheme = forwarded if forwarded in _SCHEMES else request.url.scheme
    return f"{scheme}://{request.headers['host']}/"
