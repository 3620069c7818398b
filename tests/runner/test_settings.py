from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.errors import ConfigError
from edgepack.formats.report import Duration
from edgepack.runner.http.limits import Limits
from edgepack.runner.settings import (
    DURATIONS,
    LIMIT_RANGES,
    SECTIONS,
    HubSection,
    ServeSection,
    Settings,
    load_settings,
    override,
    parse_settings,
)

_FILE = Path("/etc/box/runner.toml")
_EVERYTHING = """
[serve]
host = "0.0.0.0"
port = 9000
threads = 2
variant = "tflite-fp32"
token_file = "token"
tls_certificate = "/etc/ssl/box.pem"
tls_key = "box.key"
deadline_ms = 40

[limits]
body_bytes = 2048
grace_s = 3

[hub]
url = "https://hub.example/api/reports"
token_file = "hub.token"
ca_file = "hub.pem"
interval_s = 60
max_backoff_s = 3600
batch_limit = 10

[bench]
every_days = 7
idle_s = 120
duration = "standard"

[spool]
max_bytes = 1000000
max_count = 20
"""


def _problems_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text.encode(), _FILE)
    return caught.value.message


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings(None, None) == Settings()
    assert load_settings(None, tmp_path) == Settings()
    assert load_settings(None, tmp_path / "not yet made") == Settings()


def test_the_file_in_the_state_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_text("[serve]\nport = 1\n")
    found = load_settings(None, tmp_path)
    assert (found.serve.port, found.source) == (1, tmp_path / "runner.toml")


def test_a_named_file_wins_over_the_state_folders(tmp_path: Path) -> None:
    (tmp_path / "runner.toml").write_text("[serve]\nport = 1\n")
    named = tmp_path / "other.toml"
    named.write_text("[serve]\nport = 2\n")
    assert load_settings(named, tmp_path).serve.port == 2


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read: No such file") as caught:
        load_settings(tmp_path / "gone.toml", tmp_path)
    assert caught.value.hint == "name a settings file with --config FILE"


def test_every_key_can_be_set() -> None:
    read = parse_settings(_EVERYTHING.encode(), _FILE)
    assert read.serve == ServeSection(
        host="0.0.0.0",
        port=9000,
        threads=2,
        variant="tflite-fp32",
        token_file=_FILE.parent / "token",
        tls_certificate=Path("/etc/ssl/box.pem"),
        tls_key=_FILE.parent / "box.key",
        deadline_ms=40.0,
    )
    assert read.limits == Limits(body_bytes=2048, grace_s=3.0)
    assert isinstance(read.limits.grace_s, float)
    assert read.hub.url == "https://hub.example/api/reports"
    assert (read.hub.interval_s, read.hub.max_backoff_s, read.hub.batch_limit) == (60, 3600, 10)
    assert (read.bench.every_days, read.bench.idle_s, read.bench.duration) == (7, 120, "standard")
    assert (read.spool.max_bytes, read.spool.max_count) == (1_000_000, 20)


def test_an_empty_file_is_the_defaults() -> None:
    assert parse_settings(b"", _FILE) == Settings(source=_FILE)


def test_everything_wrong_is_told_at_once_with_its_key_path() -> None:
    message = _problems_of(
        """
        [serve]
        port = "8080"
        prot = 1
        threads = 0
        tls_key = "k"
        [limit]
        body_bytes = 1
        [limits]
        body_bytes = 1
        [hub]
        url = "ftp://hub"
        [bench]
        duration = "mlpref"
        """
    )
    assert message.startswith("/etc/box/runner.toml: 8 problems")
    for expected in (
        "serve.port: got a string, expected an integer",
        "serve.prot: unknown key; did you mean 'port'?",
        "serve.threads: 0 is below 1",
        "serve.tls_certificate: missing; serve.tls_key needs it beside it",
        "limit: unknown table; did you mean 'limits'?",
        "limits.body_bytes: 1 is below 1024",
        "hub.url: 'ftp://hub' is not an http or https URL",
        "bench.duration: got 'mlpref', expected one of quick, standard, mlperf; "
        "did you mean 'mlperf'?",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[serve]\nport = 70000", "serve.port: 70000 is above 65535"),
        ("[serve]\nport = true", "serve.port: got true or false"),
        ("[serve]\nthreads = 1.5", "serve.threads: got a number, expected an integer"),
        ("[serve]\ndeadline_ms = inf", "serve.deadline_ms: inf"),
        ("[serve]\nhost = ''", "serve.host: length 0 is below 1"),
        ("[serve]\ntoken_file = 3", "serve.token_file: got an integer, expected a string"),
        ("[serve]\ntls_certificate = 'c'", "serve.tls_key: missing"),
        ("serve = 3", r"serve: got 3, expected a table: [serve]"),
        ("[[serve]]\nport = 1", "serve: got"),
        ("[hub]\ntoken_file = 't'", "hub.token_file: means nothing without hub.url"),
        ("[hub]\nurl = 'http://hub/x'\ntoken_file = 't'", "hub.url: the token would go to hub"),
        ("[hub]\nurl = 'https://me:secret@hub/x'", "hub.url: the URL of hub carries a name"),
        ("[hub]\nurl = 'https://hub:port/x'", "hub.url: 'https://hub:port/x' is not"),
        ("[hub]\ninterval_s = 1979-05-27", "hub.interval_s: got date, expected a number"),
        ("[spool]\nmax_count = 0", "spool.max_count: 0 is below 1"),
        ("[serve", "not TOML"),
        ("port = 1", "port: unknown table"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(text: str, expected: str) -> None:
    assert expected in _problems_of(text)


def test_a_refused_value_is_complained_about_once() -> None:
    assert _problems_of("[bench]\nduration = 3").count("bench.duration") == 1


@pytest.mark.parametrize("data", [b"\xff", b"a = " + b"[" * 20_000, b"a = " + b"9" * 50_000])
def test_what_is_not_toml_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_settings(data, _FILE)


def test_a_file_that_is_too_long_is_refused() -> None:
    assert "longer than" in _problems_of("#" * 70_000)


@given(st.binary(max_size=300))
def test_any_bytes_are_settings_or_an_error(data: bytes) -> None:
    try:
        read = parse_settings(data, _FILE)
    except ConfigError:
        return
    assert read.source == _FILE


def test_options_of_the_command_line_win() -> None:
    read = parse_settings(b"[serve]\nport = 1\nhost = '::1'", _FILE).serve
    both = override(read, port=0, host=None)
    assert (both.port, both.host) == (0, "::1")


def test_a_hub_that_is_typed_gets_no_token_that_was_set_for_another() -> None:
    hub = HubSection(url="https://hub/x", token_file=Path("set"), ca_file=Path("ca.pem"))
    assert hub.typed("", None) == hub
    assert hub.typed("", Path("typed")).token_file == Path("typed")
    other = hub.typed("https://other/x", None)
    assert (other.url, other.token_file) == ("https://other/x", None)
    assert other.ca_file == Path("ca.pem")
    assert hub.typed("https://other/x", Path("typed")).token_file == Path("typed")


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_secret_that_everybody_can_read_is_warned_about(
    tmp_path: Path, mode: int, warned: bool
) -> None:
    for name in ("token", "hub.token", "key"):
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(mode)
    path = tmp_path / "runner.toml"
    path.write_text(
        "[serve]\ntoken_file = 'token'\ntls_key = 'key'\ntls_certificate = 'key'\n"
        "[hub]\nurl = 'https://hub/x'\ntoken_file = 'hub.token'\n"
    )
    warnings = load_settings(path, None).warnings
    assert len(warnings) == (3 if warned else 0)
    assert all("chmod o-r" in each for each in warnings)


def test_a_secret_that_is_not_there_yet_is_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "runner.toml"
    path.write_text("[serve]\ntoken_file = 'token'\n")
    assert load_settings(path, None).warnings == ()


def test_every_limit_has_a_range_that_its_default_lies_in() -> None:
    defaults = dataclasses.asdict(Limits())
    assert set(LIMIT_RANGES) == set(defaults)
    for name, value in defaults.items():
        low, high = LIMIT_RANGES[name].low, LIMIT_RANGES[name].high
        assert low is not None
        assert high is not None
        assert low <= value <= high, name


def test_the_durations_are_those_of_the_report() -> None:
    assert tuple(Duration) == DURATIONS


def _keys() -> list[tuple[str, Any]]:
    return [
        (f"{name}.{each.name}", getattr(kind(), each.name))
        for name, kind in SECTIONS.items()
        for each in dataclasses.fields(kind)
    ]


@pytest.mark.parametrize(("key", "default"), _keys())
def test_every_key_is_documented_with_its_default(
    key: str, default: object, repository: Path
) -> None:
    text = (repository / "docs" / "runner.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{re.escape(key)}` \| ([^|]*) \|", text, re.MULTILINE)
    assert row is not None, f"docs/runner.md has no row for {key}"
    shown = row[1].strip().strip("`").replace(",", "")
    if default is None:
        assert shown == "-"
    elif isinstance(default, str):
        assert shown == f'"{default}"'
    else:
        assert float(shown) == pytest.approx(float(str(default)))
