"""Who asks: finds the bearer of a request's token, and keeps out who may not.

A token comes in the header `Authorization`, or, from a browser, in the cookie that signing in
sets. It is not aware of what is asked. Used by `app` and `api`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fastapi import HTTPException, Request

from edgepack.hub.access.credentials import Bearer, Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.intake.rates import RateLimiter
from edgepack.hub.web.looking_up import Lookups

COOKIE: Final = "edgepack_hub"
#: A token that another process revoked is still taken for as long as this.
_KNOWN_FOR_S: Final = 5.0
_MOST_KNOWN: Final = 50_000
#: Wrong tokens a minute and in a burst, from one address.
_WRONG_PER_MINUTE: Final = 30.0
_WRONG_BURST: Final = 60
_READERS: Final = (Role.READER, Role.ADMIN)


class Gate:
    """Knows the bearers of tokens; for the event loop's thread."""

    def __init__(
        self, credentials: Credentials, now_ms: Callable[[], int], monotonic: Callable[[], float]
    ) -> None:
        """Makes a gate.

        Args:
            credentials: The store's.
            now_ms: The wall clock.
            monotonic: Seconds.
        """
        self._lookups = Lookups(lambda tokens: credentials.find_all(tokens, now_ms()))
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, Bearer]] = OrderedDict()
        self._wrong = RateLimiter(_WRONG_PER_MINUTE, _WRONG_BURST, monotonic)

    async def bearer_of(self, token: str, address: str) -> Bearer | None:
        """Finds who bears a token.

        Args:
            token: What was shown.
            address: Where the request comes from.

        Returns:
            The bearer; None for a token that is not good.

        Raises:
            HTTPException: Too many wrong ones came from there (429).
        """
        now, now_ms = self._monotonic(), self._now_ms()
        known = self._known.get(token)
        if known is not None and known[0] > now and (known[1].expires_ms or now_ms + 1) > now_ms:
            return known[1]
        bearer = await self._lookups.find(token)
        if bearer is None:
            self._known.pop(token, None)
            wait_s = self._wrong.wait_s(address)
            if wait_s:
                raise HTTPException(
                    429, "too many wrong tokens from here", {"Retry-After": str(int(wait_s) + 1)}
                )
            return None
        # One that is counted down is looked up every time.
        if bearer.role is not Role.ENROL:
            self._known[token] = (now + _KNOWN_FOR_S, bearer)
            self._known.move_to_end(token)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return bearer

    def forget(self, token: str) -> None:
        """Has a token looked up anew."""
        self._known.pop(token, None)

    async def require(self, request: Request, *roles: Role) -> Bearer:
        """Lets a request through, or says why not.

        Args:
            request: The request.
            roles: Any of these will do.

        Returns:
            Who asks.

        Raises:
            HTTPException: No good token (401), another role (403), or too many tries (429).
        """
        token = token_of(request)
        bearer = None
        if token is not None:
            bearer = await self.bearer_of(token, address_of(request))
        if bearer is None:
            what = "a bearer token is needed" if token is None else "the token is not valid"
            raise HTTPException(401, what, {"WWW-Authenticate": 'Bearer realm="edgepack hub"'})
        if bearer.role not in roles:
            wanted = " or ".join(roles)
            raise HTTPException(403, f"the token is of role {bearer.role}; {wanted} is needed")
        return bearer

    async def reader(self, request: Request) -> Bearer:
        """Lets those through who may read; see `require`."""
        return await self.require(request, *_READERS)


def token_of(request: Request) -> str | None:
    """Returns the token of a request: the header's, else the cookie's; None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if token:
        return token.strip() if scheme.lower() == "bearer" else ""
    return request.cookies.get(COOKIE)


def address_of(request: Request) -> str:
    """Returns where a request comes from."""
    return request.client.host if request.client else "?"
