"""What a registry may do besides answering as it should, over real connections."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from edgepack.build.image.credentials import Credentials
from edgepack.build.image.media import digest_of
from edgepack.build.image.reference import parse_reference
from edgepack.build.image.registry import Registry
from edgepack.formats.errors import ImageError

_BLOB = b"layer" * 1000
_DIGEST = digest_of(_BLOB)


class _Strange(http.server.BaseHTTPRequestHandler):
    """Answers each path as its script says: status, headers, body, and how much of that comes."""

    script: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}
    seen: ClassVar[list[tuple[str, str, str | None]]] = []
    #: What comes before that, one for each request: a status, or None for a lost connection.
    faults: ClassVar[list[int | None]] = []

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.seen.append((self.command, path, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.faults:
            fault = self.faults.pop(0)
            if fault is not None:
                self.send_error(fault)
            return
        status, headers, body = self.script[f"{self.command} {path}"]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 - the server's own names

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    _Strange.script, _Strange.seen, _Strange.faults = {}, [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Strange) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        reference = parse_reference(f"127.0.0.1:{server.server_port}/shop:1", "tag")
        yield Registry(
            reference, lambda host, name: Credentials("shop", "right"), sleep=lambda seconds: None
        )
        server.shutdown()
        thread.join()


def test_a_sign_in_page_is_no_manifest(registry: Registry) -> None:
    page = b"<html>Welcome to the shop's network</html>"
    _Strange.script["GET /v2/shop/manifests/1"] = (200, {"Content-Type": "text/html"}, page)
    with pytest.raises(ImageError, match="no JSON object") as caught:
        registry.manifest("1")
    assert "sign-in page" in str(caught.value.hint)


def test_an_answer_that_is_broken_off_leaves_no_file(registry: Registry, tmp_path: Path) -> None:
    headers = {"Content-Length": str(len(_BLOB) + 1)}
    _Strange.script[f"GET /v2/shop/blobs/{_DIGEST}"] = (200, headers, _BLOB[:100])
    with pytest.raises(ImageError, match=r"broke off|other bytes"):
        registry.fetch_blob({"digest": _DIGEST, "size": len(_BLOB)}, tmp_path / "blob")
    assert list(tmp_path.iterdir()) == []


def test_a_blob_whose_place_is_told_is_there_and_not_asked_for_again(
    registry: Registry, tmp_path: Path
) -> None:
    path = f"/v2/shop/blobs/{_DIGEST}"
    signed = {"Location": f"{registry._base}/signed-for-head"}
    _Strange.script[f"HEAD {path}"] = (307, signed, b"")
    (tmp_path / "blob").write_bytes(_BLOB)
    assert registry.push_blob(tmp_path / "blob", _DIGEST) is False
    assert [(method, place) for method, place, _ in _Strange.seen] == [("HEAD", path)]


def test_a_login_does_not_follow_an_upload_to_another_host(
    registry: Registry, tmp_path: Path
) -> None:
    elsewhere = registry._base.replace("127.0.0.1", "localhost") + "/elsewhere"
    _Strange.script[f"HEAD /v2/shop/blobs/{_DIGEST}"] = (404, {}, b"{}")
    _Strange.script["POST /v2/shop/blobs/uploads/"] = (202, {"Location": elsewhere}, b"")
    _Strange.script["PUT /elsewhere"] = (401, {"WWW-Authenticate": "Basic"}, b"{}")
    registry._authorization = Credentials("shop", "right").basic
    (tmp_path / "blob").write_bytes(_BLOB)
    with pytest.raises(ImageError, match="another host that it names wants a login"):
        registry.push_blob(tmp_path / "blob", _DIGEST)
    assert _Strange.seen[-1] == ("PUT", "/elsewhere", None)


def test_a_fault_that_passes_is_tried_again_and_one_that_stays_is_told(
    registry: Registry, tmp_path: Path
) -> None:
    blob = b'{"architecture": "arm64"}'
    digest = digest_of(blob)
    place = f"/v2/shop/blobs/{digest}"
    _Strange.script = {
        "GET /v2/shop/manifests/1": (200, {}, b"{}"),
        "PUT /v2/shop/manifests/1": (201, {"OCI-Subject": "x"}, b""),
        f"GET {place}": (200, {}, blob),
        f"HEAD {place}": (200, {}, b""),
    }
    descriptor = {"digest": digest, "size": len(blob)}
    calls: list[Callable[[], object]] = [
        lambda: registry.manifest("1"),
        lambda: registry.put_manifest("1", b"{}", "application/json"),
        lambda: registry.small_blob(digest),
        lambda: registry.push_blob(tmp_path / "blob", digest),
        lambda: registry.fetch_blob(descriptor, tmp_path / "blob"),
    ]
    for call in calls:
        _Strange.seen, _Strange.faults = [], [503, None]
        call()
        assert len(_Strange.seen) == 3
        assert len(set(_Strange.seen)) == 1
    assert (tmp_path / "blob").read_bytes() == blob
    _Strange.faults = [503] * 3
    with pytest.raises(ImageError, match="answered 503 to GET"):
        registry.manifest("1")
    _Strange.seen, _Strange.faults = [], [400]
    with pytest.raises(ImageError, match="answered 400 to GET"):
        registry.manifest("1")
    assert len(_Strange.seen) == 1


def test_a_question_for_a_token_does_not_follow_to_another_host(registry: Registry) -> None:
    elsewhere = registry._base.replace("127.0.0.1", "localhost")
    wanted = {"WWW-Authenticate": f'Bearer realm="{registry._base}/token",service="shop"'}
    _Strange.script = {
        "GET /v2/shop/manifests/1": (401, wanted, b"{}"),
        # Also where the first step stays on the host.
        "GET /token": (302, {"Location": f"{registry._base}/token-2"}, b""),
        "GET /token-2": (302, {"Location": f"{elsewhere}/stolen"}, b""),
        "GET /stolen": (200, {}, b'{"token": "theirs"}'),
    }
    with pytest.raises(ImageError, match="sends the question on to 'localhost:") as caught:
        registry.manifest("1")
    assert "proxy" in str(caught.value.hint)
    assert [path for _, path, _ in _Strange.seen] == [
        "/v2/shop/manifests/1", "/token", "/token-2",
    ]  # fmt: skip


class _Dripping(http.server.BaseHTTPRequestHandler):
    """Sends a byte at a time, each within the time that a step may take, and has no end."""

    stopped: ClassVar[threading.Event]

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if "blobs" in self.path:
            self.wfile.write(b"Content-Length: 5000\r\n\r\n")
        try:
            while not self.stopped.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            # The other side has gone, as it should.
            return

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_a_registry_that_drips_its_answer_is_given_up(tmp_path: Path) -> None:
    _Dripping.stopped = threading.Event()
    # Ends a client that would wait for ever; it would then fail for another reason.
    watchdog = threading.Timer(60, _Dripping.stopped.set)
    watchdog.start()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Dripping) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        reference = parse_reference(f"127.0.0.1:{server.server_port}/shop:1", "tag")
        registry = Registry(
            reference, lambda host, name: None, sleep=lambda seconds: None, limit_s=0.5
        )
        try:
            with pytest.raises(ImageError, match=r"slow|timed out"):
                registry.manifest("1")
            with pytest.raises(ImageError, match=r"slow|timed out"):
                registry.fetch_blob({"digest": _DIGEST, "size": 5000}, tmp_path / "blob")
            assert not _Dripping.stopped.is_set()
        finally:
            _Dripping.stopped.set()
            watchdog.cancel()
            server.shutdown()
            thread.join()
    assert list(tmp_path.iterdir()) == []
