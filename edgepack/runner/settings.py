"""The runner's settings file `runner.toml`: what it may say, and everything wrong with it at once.

The annotations are the schema. It is not aware of what a setting does, nor of the command line
beyond `override`. Used by the runner's programs; standard library only, and `tomllib` is imported
only where there is a file: a box starts from power-on and waits for this.
"""

from __future__ import annotations

import dataclasses
import functools
import stat
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from edgepack.formats.errors import ConfigError, Problem, did_you_mean
from edgepack.formats.typed import Range, check_value, from_plain
from edgepack.runner.http.limits import Limits
from edgepack.runner.reports.address import check_url

SETTINGS_FILE = "runner.toml"
#: The words of `edgepack.formats.report.Duration`, whose import costs a starting daemon 40 ms.
DURATIONS = ("quick", "standard", "mlperf")
#: A file that says everything has about 2 kB.
_MAX_FILE_BYTES = 64 * 1024

_Section = TypeVar("_Section")
_Text = Annotated[str, Range(low=1, high=4096)]
_SECOND_TO_DAY = Range(low=1, high=86_400)
_KIB, _MIB, _GIB = 2**10, 2**20, 2**30


@dataclass(frozen=True, slots=True)
class ServeSection:
    """`[serve]`: where and how the daemon answers.

    Attributes:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        threads: Threads inside one call; None: as measured on the box, else one.
        variant: Which candidate of the bundle; None: as measured on the box, else its first.
        trial: Folder of a release that is served as `canary` beside the current one; None:
            `ROOT/trial` where there is one.
        token_file: File of the bearer token that every request must carry; None: no token.
        tls_certificate: PEM file of the certificate and its chain; None: plain HTTP.
        tls_key: PEM file of its key.
        deadline_ms: For requests that name no deadline of their own; None: none.
        batch_size: The most rows of one call of the model; None: as many as it was built for.
        batch_delay_us: How long a request may be held back for others to share its call.
    """

    host: _Text = "127.0.0.1"
    port: Annotated[int, Range(low=0, high=65_535)] = 8080
    threads: Annotated[int, Range(low=1, high=256)] | None = None
    variant: _Text | None = None
    trial: Path | None = None
    token_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    deadline_ms: Annotated[float, Range(low=0.1, high=600_000)] | None = None
    batch_size: Annotated[int, Range(low=1, high=256)] | None = None
    batch_delay_us: Annotated[int, Range(low=0, high=1_000_000)] = 0


@dataclass(frozen=True, slots=True)
class HubSection:
    """`[hub]`: where reports are sent by themselves.

    Attributes:
        url: Address reports are POSTed to; None: they wait for `report --send`.
        token_file: File of the bearer token that goes along, read anew for each round.
        ca_file: PEM file of certificates to trust instead of the system's.
        interval_s: How often it is looked whether something waits.
        max_backoff_s: Longest wait between two tries at a hub that does not answer; never
            less than `interval_s`.
        batch_limit: Most reports sent in one round.
    """

    url: _Text | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    interval_s: Annotated[float, _SECOND_TO_DAY] = 300.0
    max_backoff_s: Annotated[float, Range(low=1, high=7 * 86_400)] = 6 * 3600.0
    batch_limit: Annotated[int, Range(low=1, high=10_000)] = 50

    def typed(self, url: str, token_file: Path | None) -> HubSection:
        """Returns the hub that was named on the command line.

        Args:
            url: What was typed; empty: this one. Another one gets no token that was set for this.
            token_file: What was typed, or None.
        """
        hub = HubSection(url=url, ca_file=self.ca_file) if url else self
        return override(hub, token_file=token_file)


@dataclass(frozen=True, slots=True)
class BenchSection:
    """`[bench]`: when the box measures itself without being asked.

    Attributes:
        every_days: Days between two benchmarks; None: never by itself.
        idle_s: It waits until no request has come for this long.
        duration: `quick`, `standard` or `mlperf`.
    """

    every_days: Annotated[float, Range(low=0.01, high=366)] | None = None
    idle_s: Annotated[float, _SECOND_TO_DAY] = 600.0
    duration: _Text = "quick"


@dataclass(frozen=True, slots=True)
class SpoolSection:
    """`[spool]`: how much may wait for a hub.

    Attributes:
        max_bytes: Bytes of all waiting reports together.
        max_count: How many may wait.
    """

    # The low end holds one report of three scenarios.
    max_bytes: Annotated[int, Range(low=64 * _KIB, high=_GIB)] = 4 * _MIB
    max_count: Annotated[int, Range(low=1, high=100_000)] = 200


#: What each limit of `[limits]` may be; `Limits` itself knows no file.
LIMIT_RANGES: Mapping[str, Range] = types.MappingProxyType(
    {
        "body_bytes": Range(low=_KIB, high=256 * _MIB),
        "header_bytes": Range(low=_KIB, high=_MIB),
        "header_count": Range(low=8, high=1000),
        "connections": Range(low=1, high=10_000),
        "queued": Range(low=1, high=1000),
        "pending": Range(low=1, high=10_000),
        "read_timeout_s": Range(low=0.1, high=3600),
        "idle_timeout_s": Range(low=0.1, high=86_400),
        "write_timeout_s": Range(low=0.1, high=3600),
        "linger_s": Range(low=0, high=60),
        "drain_s": Range(low=0, high=60),
        "grace_s": Range(low=0, high=600),
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the settings file can say; without one, the defaults.

    Attributes:
        serve: Where and how the daemon answers.
        limits: How much one client may take.
        hub: Where reports go.
        bench: When the box measures itself.
        spool: How much may wait.
        source: The file they were read from; None: there was none.
        warnings: What is worth telling but stops nothing.
    """

    serve: ServeSection = field(default_factory=ServeSection)
    limits: Limits = field(default_factory=Limits)
    hub: HubSection = field(default_factory=HubSection)
    bench: BenchSection = field(default_factory=BenchSection)
    spool: SpoolSection = field(default_factory=SpoolSection)
    source: Path | None = None
    warnings: tuple[str, ...] = ()


#: The tables of the file and what reads each.
SECTIONS: Mapping[str, type[Any]] = types.MappingProxyType(
    {
        "serve": ServeSection,
        "limits": Limits,
        "hub": HubSection,
        "bench": BenchSection,
        "spool": SpoolSection,
    }
)


def load_settings(path: Path | None, state: Path | None) -> Settings:
    """Reads the settings file.

    Args:
        path: The file that was named; it must exist.
        state: The state folder, whose `runner.toml` is read where no file was named and there
            is one; or None.

    Returns:
        The settings; paths in it are relative to the file's own folder.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or says what it may not; every
            problem is named with its key path.
    """
    source = path
    if source is None:
        source = None if state is None else state / SETTINGS_FILE
        if source is None or not source.exists():
            return Settings()
    try:
        with source.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot be read: {error.strerror or error}",
            hint="name a settings file with --config FILE",
        ) from error
    settings = parse_settings(data, source)
    return dataclasses.replace(settings, warnings=tuple(_open_secrets(settings)))


def parse_settings(data: bytes, source: Path) -> Settings:
    """Parses a settings file without looking at any other file.

    Args:
        data: Its bytes.
        source: Where it lies: for messages, and for the paths in it.

    Returns:
        The settings, without warnings.

    Raises:
        ConfigError: It is not TOML, or says what it may not; every problem is named.
    """
    document = _parse_toml(data, source)
    problems = [
        Problem(name, f"unknown table{did_you_mean(name, SECTIONS)}")
        for name in document
        if name not in SECTIONS
    ]
    read: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        section, found = _read_section(kind, name, document.get(name, {}), source.parent)
        problems += found
        read[name] = section
    settings = Settings(**read, source=source)
    # A value that was refused is its default here, so that rules between keys are told as well.
    problems += _check_meaning(settings, {problem.where for problem in problems})
    if problems:
        raise ConfigError.from_problems(str(source), problems)
    return settings


def override(section: _Section, **options: object) -> _Section:
    """Puts command-line options over a section.

    Args:
        section: What the file said.
        options: Field name and value; None: not given on the command line.

    Returns:
        The section with the given options in it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return cast("_Section", dataclasses.replace(cast("Any", section), **given))


def _parse_toml(data: bytes, source: Path) -> Mapping[str, Any]:
    import tomllib

    if len(data) > _MAX_FILE_BYTES:
        raise ConfigError(f"{source}: longer than {_MAX_FILE_BYTES} bytes, the most it may have")
    try:
        return tomllib.loads(data.decode("utf-8"))
    # A number of 5,000 digits and a thousand open brackets end as the last two.
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not TOML: {error}") from error


def _read_section(
    kind: type[Any], name: str, table: object, folder: Path
) -> tuple[Any, list[Problem]]:
    if not isinstance(table, Mapping):
        return kind(), [Problem(name, f"got {table!r:.80}, expected a table: [{name}]")]
    known = {each.name: _schema_of(kind, each.name) for each in dataclasses.fields(kind)}
    problems, values = [], {}
    for key, value in table.items():
        where = f"{name}.{key}"
        if key not in known:
            problems.append(Problem(where, f"unknown key{did_you_mean(key, known)}"))
            continue
        wrong = check_value(known[key], value, where)
        problems += wrong
        if not wrong:
            values[key] = _typed(kind, key, value, folder)
    return kind(**values), problems


def _typed(kind: type[Any], key: str, value: Any, folder: Path) -> Any:
    if _is_path(_hints(cast("Hashable", kind))[key]):
        return folder / value
    return from_plain(_schema_of(kind, key), value)


def _schema_of(kind: type[Any], key: str) -> Any:
    """Returns what `check_value` holds a key against: paths are texts in TOML."""
    hint = _hints(cast("Hashable", kind))[key]
    if kind is Limits:
        return Annotated[hint, LIMIT_RANGES.get(key, Range(low=0))]
    return _Text if _is_path(hint) else hint


def _is_path(hint: Any) -> bool:
    return Path in typing.get_args(hint)


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _check_meaning(settings: Settings, refused: set[str]) -> list[Problem]:
    """Holds keys against each other; those in `refused` have been complained about already."""
    serve, hub, bench = settings.serve, settings.hub, settings.bench
    problems = []
    if (serve.tls_certificate is None) != (serve.tls_key is None):
        there, lacking = ("tls_certificate", "tls_key")
        if serve.tls_certificate is None:
            there, lacking = lacking, there
        problems.append(Problem(f"serve.{lacking}", f"missing; serve.{there} needs it beside it"))
    if bench.duration not in DURATIONS:
        closest = did_you_mean(bench.duration, DURATIONS)
        words = ", ".join(DURATIONS)
        message = f"got '{bench.duration:.80}', expected one of {words}{closest}"
        problems.append(Problem("bench.duration", message))
    problems += _hub_problems(hub)
    return [each for each in problems if each.where not in refused]


def _hub_problems(hub: HubSection) -> Iterator[Problem]:
    if hub.url is None:
        for name in ("token_file", "ca_file"):
            if getattr(hub, name) is not None:
                yield Problem(f"hub.{name}", "means nothing without hub.url")
        return
    try:
        check_url(hub.url, with_token=hub.token_file is not None)
    except ConfigError as error:
        yield Problem("hub.url", error.message, error.hint)


def _open_secrets(settings: Settings) -> Iterator[str]:
    secrets: tuple[tuple[str, Path | None], ...] = (
        ("serve.token_file", settings.serve.token_file),
        ("serve.tls_key", settings.serve.tls_key),
        ("hub.token_file", settings.hub.token_file),
    )
    for name, path in secrets:
        if path is None:
            continue
        try:
            mode = path.stat().st_mode
        except OSError:
            # Whoever needs the file says so when it is needed.
            continue
        if mode & stat.S_IROTH:
            yield f"{name}: {path} can be read by every user of this box: chmod o-r {path}"
