# SPDX-License-Identifier: Apache-2.0
"""A token that a form must bring back, so that no other site can send one for you (double submit).

The cookie is `Lax`, not `Strict`: a strict cookie would not come along when a person follows a link to the
page, a new one would be set, and every tab that is already open would hold a form that is refused.
"""

import re
import secrets
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from inglenook.base.errors import Denied

COOKIE = "inglenook_form"
FIELD = "csrf"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class StaleForm(Denied):
    """The form does not belong to this browser, or the browser has forgotten its cookie."""

    default_code = "form.stale"

    def __init__(self) -> None:
        super().__init__(
            "This form was not accepted: its token does not match this browser's.",
            hint="reload the page and try again; cookies from this address must be allowed",
        )


def token_for(request: Request) -> str:
    """The browser's own token, or a new one when it has none that could be ours."""
    kept = request.cookies.get(COOKIE, "")
    return kept if _TOKEN.fullmatch(kept) else secrets.token_urlsafe(32)


def keep(response: Response, token: str, *, secure: bool) -> None:
    response.set_cookie(COOKIE, token, httponly=True, samesite="lax", secure=secure, path="/")


def check(request: Request, form: Mapping[str, object]) -> None:
    """Raises: StaleForm: the form's token is missing or is not the cookie's."""
    kept = request.cookies.get(COOKIE, "")
    given = form.get(FIELD)
    if not isinstance(given, str) or not _TOKEN.fullmatch(kept) or not secrets.compare_digest(kept, given):
        raise StaleForm
