"""Signing in with a reader's token, and out; and sending those away who have not.

It is not aware of what the pages show. Used by `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from edgepack.hub.access.roles import Role
from edgepack.hub.web.gate import COOKIE, Gate, address_of
from edgepack.hub.web.rendering import login_page

_MAX_FORM_BYTES: Final = 4096
_COOKIE_S: Final = 30 * 86_400
_SEE_OTHER: Final = 303


class SignInError(Exception):
    """A page was asked for by somebody who has not signed in."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def sign_in_router(gate: Gate, *, secure_cookie: bool) -> APIRouter:
    """Makes the routes `/login` and `/logout`.

    Args:
        gate: Knows the tokens.
        secure_cookie: Whether the cookie goes over TLS only.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def form() -> Response:
        return login_page(None)

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        token = await _token(request)
        try:
            bearer = await gate.bearer_of(token, address_of(request)) if token else None
        except HTTPException:
            return login_page(
                "Too many wrong tokens came from here. Try again in a minute.", status=429
            )
        if bearer is None:
            return login_page("This token is not valid.", status=401)
        if bearer.role not in (Role.READER, Role.ADMIN):
            return login_page("A token to sign in with is a reader's or an admin's.", status=403)
        answer = RedirectResponse(_wanted(request), _SEE_OTHER)
        answer.set_cookie(
            COOKIE,
            token,
            max_age=_COOKIE_S,
            httponly=True,
            # Lax: a link in a mail leads in, a form on another site does not.
            samesite="lax",
            secure=secure_cookie or request.url.scheme == "https",
        )
        return answer

    @router.post("/logout")
    def sign_out() -> Response:
        answer = RedirectResponse("/login", _SEE_OTHER)
        answer.delete_cookie(COOKIE)
        return answer

    return router


def page_gate(gate: Gate) -> Callable[[Request], Awaitable[None]]:
    """Returns the dependency that lets readers through and sends everybody else to sign in."""

    async def pass_or_sign_in(request: Request) -> None:
        try:
            await gate.reader(request)
        except HTTPException as error:
            wanted = request.url.path
            if request.url.query:
                wanted = f"{wanted}?{request.url.query}"
            # Who shows a token in a header is a program, and wants to hear what is wrong.
            if request.headers.get("Authorization") or error.status_code not in (401, 403):
                raise
            raise SignInError(wanted) from error

    return pass_or_sign_in


def send_to_sign_in(error: SignInError) -> Response:
    """Answers somebody who has not signed in."""
    return RedirectResponse(f"/login?next={quote(error.wanted, safe='')}", _SEE_OTHER)


async def _token(request: Request) -> str:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM_BYTES:
            return ""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=10)
    except ValueError:
        return ""
    return form.get("token", [""])[0].strip()


def _wanted(request: Request) -> str:
    """Where to go after signing in: a path of this hub, whatever was asked for."""
    wanted = request.query_params.get("next", "/")
    parts = urlsplit(wanted)
    inside = not parts.scheme and not parts.netloc and parts.path.startswith("/")
    # A browser takes //host and /\host for another host.
    return wanted if inside and wanted[1:2] not in ("/", "\\") and wanted.isprintable() else "/"
