"""Talks to an image registry: looks at a base, pushes a finished image, blob by blob.

The one file that asks for connections (`pace` makes them), and the one that translates `urllib`'s
errors. It is not aware of bundles or of what an image is for. Used by `base` and `push`.

Source: OCI Distribution Specification 1.1; "Token Authentication Specification" of distribution.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from edgepack.build.image.credentials import Credentials
from edgepack.build.image.media import INDEXES, MANIFESTS, digest_of
from edgepack.build.image.pace import PacedHttp, PacedHttps
from edgepack.build.image.reference import DOCKER_HUB, Reference
from edgepack.formats.errors import ImageError

_TIMEOUT_S: Final = 60.0
#: For a whole request, and more for what it carries.
_LIMIT_S: Final = 120.0
#: Manifests and configurations have a few kB; registries refuse more than 4 MiB.
_MAX_JSON_BYTES: Final = 4 * 2**20
_MAX_ERROR_BYTES: Final = 16 * 2**10
_CHUNK_BYTES: Final = 2**20
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 1.0
_LOOPBACK: Final = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
#: docker.io is a name; its registry has another.
_HOSTS: Final = {DOCKER_HUB: "registry-1.docker.io"}

_Got = TypeVar("_Got")

#: Finds the login for a repository.
Login = Callable[[str, str], Credentials | None]


class NotThereError(ImageError):
    """The registry answered, and has no such thing."""


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest or an index as a registry has it."""

    data: bytes
    media_type: str
    digest: str

    @property
    def document(self) -> Mapping[str, Any]:
        """Its JSON."""
        found: Mapping[str, Any] = json.loads(self.data)
        return found


def is_loopback(registry: str) -> bool:
    """Whether a registry is on this machine, where all tools allow plain HTTP."""
    return _LOOPBACK.fullmatch(registry) is not None


class Registry:
    """One repository of one registry."""

    def __init__(
        self,
        reference: Reference,
        login: Login,
        sleep: Callable[[float], None] = time.sleep,
        limit_s: float = _LIMIT_S,
    ) -> None:
        """Names it; nothing is asked yet.

        Args:
            reference: Its tag and digest do not matter.
            login: Asked once the registry wants to know who this is.
            sleep: Waits before another try.
            limit_s: How long a request may take, in seconds; each 16 kB add one.
        """
        self._name = reference.registry
        self._repository = reference.repository
        self._login = login
        self._sleep = sleep
        self._opener = urllib.request.build_opener(
            _Redirects, PacedHttp(limit_s), PacedHttps(limit_s)
        )
        self._authorization: str | None = None
        scheme = "http" if is_loopback(self._name) else "https"
        self._base = f"{scheme}://{_HOSTS.get(self._name, self._name)}"

    def manifest(self, name: str) -> FetchedManifest:
        """Fetches a manifest or an index by tag or digest.

        Raises:
            NotThereError: There is none.
            ImageError: The registry is unreachable or refuses, or the bytes are others.
        """
        return self._retrying(lambda: self._manifest(name))

    def _manifest(self, name: str) -> FetchedManifest:
        accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
        with self._ask("GET", f"manifests/{name}", headers=accept) as answer:
            data = self._read(answer, _MAX_JSON_BYTES)
            media_type = answer.headers.get("Content-Type", "").split(";")[0]
        digest = digest_of(data)
        if name.startswith("sha256:") and name != digest:
            raise ImageError(f"{self._name} gave other bytes for {name}: {digest}")
        self._parse(data, f"manifests/{name}")
        return FetchedManifest(data, media_type, digest)

    def small_blob(self, digest: str) -> Mapping[str, Any]:
        """Fetches a JSON blob, such as an image's configuration."""
        return self._retrying(lambda: self._small_blob(digest))

    def _small_blob(self, digest: str) -> Mapping[str, Any]:
        with self._ask("GET", f"blobs/{digest}") as answer:
            data = self._read(answer, _MAX_JSON_BYTES)
        if digest_of(data) != digest:
            raise ImageError(f"{self._name} gave other bytes for {digest}")
        return self._parse(data, f"blobs/{digest}")

    def _read(self, answer: Any, most: int) -> bytes:
        try:
            data: bytes = answer.read(most)
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(
                f"the registry {self._name} broke off its answer: {error}",
                hint="check the network and the proxy, and try again",
            ) from error
        return data

    def _parse(self, data: bytes, path: str) -> Mapping[str, Any]:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ImageError(
                f"the registry {self._name} answered {path} with something that is no JSON object",
                hint="a proxy or a sign-in page may stand between; open the address in a browser",
            )
        return document

    def fetch_blob(self, descriptor: Mapping[str, Any], path: Path) -> None:
        """Downloads a blob of any size to a new file.

        Raises:
            ImageError: Its bytes are others than the descriptor says; there is no file then.
        """
        self._retrying(lambda: self._fetch_blob(descriptor, path))

    def _fetch_blob(self, descriptor: Mapping[str, Any], path: Path) -> None:
        expected, left = str(descriptor["digest"]), int(descriptor["size"])
        digest = hashlib.sha256()
        try:
            with self._ask("GET", f"blobs/{expected}") as answer, path.open("wb") as file:
                while left > 0 and (chunk := self._read(answer, min(left, _CHUNK_BYTES))):
                    left -= len(chunk)
                    digest.update(chunk)
                    file.write(chunk)
            if f"sha256:{digest.hexdigest()}" != expected:
                raise ImageError(f"{self._name} gave other bytes for {expected}")
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def push_blob(self, path: Path, digest: str) -> bool:
        """Uploads a blob that is not there yet.

        Returns:
            Whether it had to be uploaded.
        """
        try:
            self._retrying(lambda: self._ask("HEAD", f"blobs/{digest}")).close()
        except _ElsewhereError:
            return False
        except NotThereError:
            pass
        else:
            return False
        self._retrying(lambda: self._upload(path, digest))
        return True

    def put_manifest(self, name: str, data: bytes, media_type: str) -> Mapping[str, str]:
        """Puts a manifest under a tag or its digest; returns the answer's headers."""
        return self._retrying(lambda: self._put_manifest(name, data, media_type))

    def _put_manifest(self, name: str, data: bytes, media_type: str) -> Mapping[str, str]:
        headers = {"Content-Type": media_type}
        with self._ask("PUT", f"manifests/{name}", data=data, headers=headers) as answer:
            return {key.lower(): value for key, value in answer.headers.items()}

    def _upload(self, path: Path, digest: str) -> None:
        with self._ask("POST", "blobs/uploads/", data=b"") as answer:
            place = urllib.parse.urljoin(answer.url, answer.headers.get("Location", ""))
        mark = "&" if urllib.parse.urlsplit(place).query else "?"
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(path.stat().st_size),
        }
        url = f"{place}{mark}digest={urllib.parse.quote(digest, safe='')}"
        with path.open("rb") as file:
            self._ask("PUT", url, data=file, headers=headers).close()

    def _retrying(self, work: Callable[[], _Got]) -> _Got:
        """Tries again what may pass; all that is asked here may be asked twice."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return work()
            except _PassingError:
                self._sleep(_PAUSE_S * attempt)
        return work()

    def _ask(
        self,
        method: str,
        path: str,
        *,
        data: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        url = path if "://" in path else f"{self._base}/v2/{self._repository}/{path}"
        try:
            return self._send(method, url, data, headers or {}, self._allowed_at(url))
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.UNAUTHORIZED:
                raise self._explain(method, path, error) from error
            # Also when a token was sent: one for reading is not one for writing.
            error.close()
            if not self._is_own(error.url or url):
                raise self._refused("another host that it names wants a login") from error
            self._authorization = self._authorize(error.headers.get("WWW-Authenticate", ""))
        if self._authorization is None:
            raise self._refused("it wants a login, and there is none")
        if data is not None and not isinstance(data, bytes):
            data.seek(0)
        try:
            return self._send(method, url, data, headers or {}, self._allowed_at(url))
        except urllib.error.HTTPError as error:
            raise self._explain(method, path, error) from error

    def _send(
        self,
        method: str,
        url: str,
        data: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        authorization: str | None,
        kind: type[urllib.request.Request] = urllib.request.Request,
    ) -> Any:
        request = kind(url, data, dict(headers), method=method)
        if authorization is not None:
            # Not to be carried to the storage that a registry sends its readers to.
            request.add_unredirected_header("Authorization", authorization)
        try:
            return self._opener.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _PassingError(
                f"the registry {self._name} cannot be reached: {reason}",
                hint="check the name, the network and the proxy",
            ) from error

    def _allowed_at(self, url: str) -> str | None:
        """Returns the `Authorization` for an address: only the registry's own gets it."""
        return self._authorization if self._is_own(url) else None

    def _is_own(self, url: str) -> bool:
        here, there = urllib.parse.urlsplit(self._base), urllib.parse.urlsplit(url)
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)

    def _authorize(self, challenge: str) -> str | None:
        """Returns the `Authorization` that a challenge asks for; None without a login."""
        kind, _, rest = challenge.partition(" ")
        found = self._login(self._name, self._repository)
        if kind.lower() == "basic":
            return None if found is None else found.basic
        if kind.lower() != "bearer":
            raise self._refused(f"it asks for '{challenge:.80}', which is not understood")
        words = dict(_CHALLENGE.findall(rest))
        scope = f"repository:{self._repository}:pull,push"
        query = {"service": words.get("service", ""), "scope": words.get("scope") or scope}
        token = self._fetch_token(words.get("realm", ""), query, found)
        return f"Bearer {token}"

    def _fetch_token(self, realm: str, query: Mapping[str, str], login: Credentials | None) -> str:
        if not realm.startswith(("https://", "http://")):
            raise self._refused("its challenge names no place to ask for a token")
        if (
            realm.startswith("http://")
            and login
            and not is_loopback(urllib.parse.urlsplit(realm).netloc)
        ):
            raise self._refused("it wants the login over plain HTTP")
        joint = "&" if "?" in realm else "?"
        data, basic, url = None, None, f"{realm}{joint}{urllib.parse.urlencode(query)}"
        if login is not None and login.is_token:
            form = {**query, "grant_type": "refresh_token", "refresh_token": login.secret}
            data, url = urllib.parse.urlencode({**form, "client_id": "edgepack"}).encode(), realm
        elif login is not None:
            basic = login.basic
        try:
            # With the login alone: a token that was too narrow must not go along.
            method = "GET" if data is None else "POST"
            with self._send(method, url, data, {}, basic, _TokenRequest) as answer:
                document = json.loads(self._read(answer, _MAX_JSON_BYTES))
            return str(document.get("token") or document["access_token"])
        except urllib.error.HTTPError as error:
            if HTTPStatus.MULTIPLE_CHOICES <= error.code < HTTPStatus.BAD_REQUEST:
                error.close()
                place = urllib.parse.urlsplit(error.headers.get("Location", "")).netloc
                raise ImageError(
                    f"the token service of {self._name} sends the question on to '{place[:80]}', "
                    "which is another host and is not asked",
                    hint="a proxy or a sign-in page may stand between; else tell who runs it",
                ) from error
            raise self._refused(_last_words(error)) from error
        except (ValueError, KeyError) as error:
            raise self._refused("its token service gave no token") from error

    def _explain(self, method: str, path: str, error: urllib.error.HTTPError) -> ImageError:
        said = _last_words(error)
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return self._refused(said)
        what = f"{self._name}/{self._repository}"
        if error.code == HTTPStatus.NOT_FOUND:
            return NotThereError(
                f"{what} has no {path.partition('?')[0]}: {said}",
                hint="check the image's name and tag",
            )
        if HTTPStatus.MULTIPLE_CHOICES <= error.code < HTTPStatus.BAD_REQUEST:
            return _ElsewhereError(f"{what} sends {method} elsewhere")
        kind = _PassingError if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else ImageError
        return kind(f"{what} answered {error.code} to {method}: {said}")

    def _refused(self, why: str) -> ImageError:
        return ImageError(
            f"the registry {self._name} refuses {self._repository}: {why}",
            hint=f"log in with an account that may: docker|podman|buildah login {self._name}",
        )


class _TokenRequest(urllib.request.Request):
    """Asks for a token: its answer is believed, so it comes from the host that was named."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a registry to its storage, but not with a HEAD.

    urllib would make a GET of it, and an address that was signed for a HEAD refuses that; that
    there is one says that the blob is there. A question for a token stays on its host.
    """

    def redirect_request(self, req: urllib.request.Request, *told: Any) -> Any:
        """Returns the request to go on with, or None to stay."""
        if req.get_method() == "HEAD":
            return None
        going = super().redirect_request(req, *told)
        if going is None or not isinstance(req, _TokenRequest):
            return going
        if (going.type, going.host) != (req.type, req.host):
            return None
        # One of this kind again, so that a second step is judged like the first.
        return _TokenRequest(going.full_url, headers=dict(going.header_items()))


class _PassingError(ImageError):
    """A fault that may be gone at the next try."""


class _ElsewhereError(ImageError):
    """What was asked for is at another address, which is not followed."""


def _last_words(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            data = error.read(_MAX_ERROR_BYTES)
    except (OSError, http.client.HTTPException):
        # The status has been heard, and is what counts.
        return str(error.reason)
    try:
        first = json.loads(data)["errors"][0]
        return str(first.get("message") or first.get("code"))[:200]
    except (ValueError, LookupError, TypeError, AttributeError):
        return str(error.reason)
