"""The hub's tables, on SQLite and on PostgreSQL alike.

Moments are whole milliseconds since 1970 UTC and end in `_ms`, durations nanoseconds (`_ns`),
sizes bytes (`_bytes`), temperatures thousandths of a degree Celsius (`_mc`). The migrations in
`migrations` make these very tables; a test holds the two against each other. It is not aware of
who reads or writes. Anyone in the hub may import it.

A report's facts are spread over rows so that a page never opens a document:

    document   the report as it was sent, compressed; the first to be dropped when it is old
    report     one benchmark: grade, golden answers, cold start, memory, temperature
    run        one scenario of it: percentiles and throughput
    release    which bundle; setup: what computed; context: on what and how it was measured
    standing   the newest run of each device for a setup, a context and a standing of trust
    history    one row a day, for as long as reports themselves are not kept
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

#: Constraints get the same names everywhere, so that a later migration can find them.
metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite counts up by itself only in a column that is exactly INTEGER.
_Id: Final = BigInteger().with_variant(Integer(), "sqlite")
_HASH: Final = String(64)
#: As long as `edgepack.formats.typed.Name` may be.
_NAME: Final = String(200)


def _key() -> Column[Any]:
    return Column("id", _Id, primary_key=True, autoincrement=True)


def _to(table: str, *, name: str = "", **options: Any) -> Column[Any]:
    """A reference to another table's row; nullable only where the options say so."""
    options.setdefault("nullable", False)
    return Column(name or f"{table}_id", _Id, ForeignKey(f"{table}.id"), **options)


#: A bundle, as reports name it.
release: Final = Table(
    "release",
    metadata,
    _key(),
    Column("bundle_id", _HASH, nullable=False, unique=True),
    Column("target", _NAME, nullable=False),
    Column("target_sha256", _HASH, nullable=False),
    Column("model", _NAME, nullable=False),
    Column("version", _NAME, nullable=False),
    Column("architecture", _NAME, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Index("ix_release_model", "model", "target", "first_seen_ms"),
)

#: What computed: one candidate of a release with a runtime and its options.
setup: Final = Table(
    "setup",
    metadata,
    _key(),
    Column("digest", _HASH, nullable=False, unique=True),
    _to("release"),
    Column("variant", _NAME, nullable=False),
    Column("format", _NAME, nullable=False),
    Column("precision", _NAME, nullable=False),
    Column("model_sha256", _HASH, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("runtime", _NAME, nullable=False),
    Column("runtime_version", _NAME, nullable=False),
    Column("provider", _NAME, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("options", Text, nullable=False),
    Column("quality", Text, nullable=False),
    Index("ix_setup_release", "release_id"),
)

#: On what and how: runs are compared only within one context. `box` is the kind of box in words,
#: `box_key` the same as a short key for addresses, `facts` everything as canonical JSON.
context: Final = Table(
    "context",
    metadata,
    _key(),
    Column("digest", _HASH, nullable=False, unique=True),
    Column("scenario", _NAME, nullable=False),
    Column("model", _NAME, nullable=False),
    Column("box", _NAME, nullable=False),
    Column("box_key", String(16), nullable=False),
    Column("facts", Text, nullable=False),
    Index("ix_context_model", "model", "scenario", "box_key"),
)

#: A box. The columns after `enrolled_ms` are those of its last report, by the box's own clock
#: where it can be believed; null: it has not reported. `condition` is a
#: `edgepack.hub.answers.health.Condition`, `rank` its place in the order of attention.
device: Final = Table(
    "device",
    metadata,
    _key(),
    Column("name", String(64), nullable=False, unique=True),
    Column("label", _NAME, nullable=False, server_default=""),
    Column("enrolled_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Column("reports", Integer, nullable=False, server_default="0"),
    Column("seen_ms", BigInteger),
    Column("reported_ms", BigInteger),
    _to("release", nullable=True),
    _to("setup", nullable=True),
    Column("box", _NAME),
    Column("grade", String(1)),
    Column("condition", String(32), nullable=False, server_default="silent"),
    Column("rank", SmallInteger, nullable=False, server_default="50"),
    Column("p50_ns", BigInteger),
    Column("p99_ns", BigInteger),
    Column("temperature_mc", Integer),
    Index("ix_device_rank", "rank", "seen_ms"),
    Index("ix_device_seen_ms", "seen_ms"),
    Index("ix_device_release_id", "release_id"),
)

#: Who may do what. `role` is an `edgepack.hub.access.roles.Role`; of a token only its SHA-256 is
#: kept. `uses_left` counts the enrolments a token is still good for; null for every other role.
credential: Final = Table(
    "credential",
    metadata,
    _key(),
    Column("token_sha256", _HASH, nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("label", _NAME, nullable=False, server_default=""),
    _to("device", nullable=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("uses_left", Integer),
    CheckConstraint("uses_left IS NULL OR uses_left >= 0", name="uses_left"),
    Index("ix_credential_device_id", "device_id"),
)

#: One benchmark of one box.
report: Final = Table(
    "report",
    metadata,
    _key(),
    Column("report_id", String(36), nullable=False, unique=True),
    Column("sha256", _HASH, nullable=False),
    _to("device"),
    Column("received_ms", BigInteger, nullable=False),
    # By the box's clock, or `received_ms` where `clock_off` says that it cannot be believed.
    Column("created_ms", BigInteger, nullable=False),
    Column("clock_off", Boolean, nullable=False),
    _to("setup"),
    Column("grade", String(1), nullable=False),
    Column("reasons", Text, nullable=False),
    Column("emulated", Boolean, nullable=False),
    Column("golden_ok", Boolean, nullable=False),
    Column("condition", String(32), nullable=False),
    Column("process_start_ns", BigInteger),
    Column("init_ns", BigInteger, nullable=False),
    Column("first_inference_ns", BigInteger, nullable=False),
    Column("ready_ns", BigInteger),
    Column("rss_peak_bytes", BigInteger),
    Column("temperature_before_mc", Integer),
    Column("temperature_mc", Integer),
    Column("throttled", Boolean),
    Column("load_1m", Float),
    Index("ix_report_device", "device_id", "created_ms"),
    Index("ix_report_received_ms", "received_ms"),
)

#: The bytes that were sent. `codec` is an `edgepack.hub.store.documents.Codec`.
document: Final = Table(
    "document",
    metadata,
    Column(
        "report_id",
        _Id,
        ForeignKey("report.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("codec", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

#: One scenario of a report. Latencies are end to end where that was measured, else compute.
run: Final = Table(
    "run",
    metadata,
    _key(),
    Column("report_id", _Id, ForeignKey("report.id", ondelete="CASCADE"), nullable=False),
    _to("device"),
    _to("context"),
    Column("created_ms", BigInteger, nullable=False),
    Column("valid", Boolean, nullable=False),
    Column("queries", BigInteger, nullable=False),
    Column("mean_ns", BigInteger, nullable=False),
    Column("p50_ns", BigInteger),
    Column("p90_ns", BigInteger),
    Column("p95_ns", BigInteger),
    Column("p99_ns", BigInteger),
    Column("p999_ns", BigInteger),
    Column("samples_per_second", Float),
    Column("target_qps", Float),
    Index("ix_run_report_id", "report_id"),
    Index("ix_run_device", "device_id", "created_ms"),
)

#: The newest run of a device for a setup, a context and a `trust` (an
#: `edgepack.hub.answers.trust.Standing`): each box counts once, however often it reports.
standing: Final = Table(
    "standing",
    metadata,
    _to("context", primary_key=True, autoincrement=False),
    Column("trust", String(16), primary_key=True),
    _to("setup", primary_key=True, autoincrement=False),
    _to("device", primary_key=True, autoincrement=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("p50_ns", BigInteger),
    Column("p90_ns", BigInteger),
    Column("p99_ns", BigInteger),
    Column("samples_per_second", Float),
    Column("ready_ns", BigInteger),
    Column("rss_peak_bytes", BigInteger),
    Index("ix_standing_setup_id", "setup_id", "trust"),
    Index("ix_standing_device_id", "device_id"),
    # The rows lie in the order of the key: comparing reads one context from end to end.
    sqlite_with_rowid=False,
)

#: A day of a device, setup and context, made from runs before they are dropped.
history: Final = Table(
    "history",
    metadata,
    _to("device", primary_key=True, autoincrement=False),
    _to("setup", primary_key=True, autoincrement=False),
    _to("context", primary_key=True, autoincrement=False),
    Column("trust", String(16), primary_key=True),
    # Days since 1970, UTC.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("runs", Integer, nullable=False),
    # The lowest and highest median of the day, and the middle one of its medians.
    Column("p50_min_ns", BigInteger),
    Column("p50_ns", BigInteger),
    Column("p50_max_ns", BigInteger),
    Column("p99_ns", BigInteger),
    Column("ready_ns", BigInteger),
    Column("rss_peak_bytes", BigInteger),
    Column("temperature_mc", Integer),
    Column("throttled", Integer, nullable=False),
    Index("ix_history_day", "day"),
)
