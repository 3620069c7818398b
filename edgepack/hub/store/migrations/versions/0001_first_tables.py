"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the step."""
    _make_context()
    _make_release()
    _make_setup()
    _make_device()
    _make_credential()
    _make_history()
    _make_report()
    _make_standing()
    _make_document()
    _make_run()


def _make_context() -> None:
    op.create_table(
        "context",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scenario", sa.String(length=200), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("box", sa.String(length=200), nullable=False),
        sa.Column("box_key", sa.String(length=16), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_context")),
        sa.UniqueConstraint("digest", name=op.f("uq_context_digest")),
    )
    with op.batch_alter_table("context", schema=None) as batch_op:
        batch_op.create_index("ix_context_model", ["model", "scenario", "box_key"], unique=False)


def _make_release() -> None:
    op.create_table(
        "release",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=200), nullable=False),
        sa.Column("target_sha256", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=200), nullable=False),
        sa.Column("architecture", sa.String(length=200), nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
        sa.UniqueConstraint("bundle_id", name=op.f("uq_release_bundle_id")),
    )
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.create_index(
            "ix_release_model", ["model", "target", "first_seen_ms"], unique=False
        )


def _make_setup() -> None:
    op.create_table(
        "setup",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column(
            "release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("variant", sa.String(length=200), nullable=False),
        sa.Column("format", sa.String(length=200), nullable=False),
        sa.Column("precision", sa.String(length=200), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("runtime", sa.String(length=200), nullable=False),
        sa.Column("runtime_version", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=200), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name=op.f("fk_setup_release_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_setup")),
        sa.UniqueConstraint("digest", name=op.f("uq_setup_digest")),
    )
    with op.batch_alter_table("setup", schema=None) as batch_op:
        batch_op.create_index("ix_setup_release", ["release_id"], unique=False)


def _make_device() -> None:
    op.create_table(
        "device",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=200), server_default="", nullable=False),
        sa.Column("enrolled_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("reports", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=True),
        sa.Column("reported_ms", sa.BigInteger(), nullable=True),
        sa.Column(
            "release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("setup_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("box", sa.String(length=200), nullable=True),
        sa.Column("grade", sa.String(length=1), nullable=True),
        sa.Column("condition", sa.String(length=32), server_default="silent", nullable=False),
        sa.Column("rank", sa.SmallInteger(), server_default="50", nullable=False),
        sa.Column("p50_ns", sa.BigInteger(), nullable=True),
        sa.Column("p99_ns", sa.BigInteger(), nullable=True),
        sa.Column("temperature_mc", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name=op.f("fk_device_release_id")),
        sa.ForeignKeyConstraint(["setup_id"], ["setup.id"], name=op.f("fk_device_setup_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("name", name=op.f("uq_device_name")),
    )
    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.create_index("ix_device_rank", ["rank", "seen_ms"], unique=False)
        batch_op.create_index("ix_device_release_id", ["release_id"], unique=False)
        batch_op.create_index("ix_device_seen_ms", ["seen_ms"], unique=False)


def _make_credential() -> None:
    op.create_table(
        "credential",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("label", sa.String(length=200), server_default="", nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("uses_left", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "uses_left IS NULL OR uses_left >= 0", name=op.f("ck_credential_uses_left")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_credential_device_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_credential_token_sha256")),
    )
    with op.batch_alter_table("credential", schema=None) as batch_op:
        batch_op.create_index("ix_credential_device_id", ["device_id"], unique=False)


def _make_history() -> None:
    op.create_table(
        "history",
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "setup_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "context_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("trust", sa.String(length=16), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("p50_min_ns", sa.BigInteger(), nullable=True),
        sa.Column("p50_ns", sa.BigInteger(), nullable=True),
        sa.Column("p50_max_ns", sa.BigInteger(), nullable=True),
        sa.Column("p99_ns", sa.BigInteger(), nullable=True),
        sa.Column("ready_ns", sa.BigInteger(), nullable=True),
        sa.Column("rss_peak_bytes", sa.BigInteger(), nullable=True),
        sa.Column("temperature_mc", sa.Integer(), nullable=True),
        sa.Column("throttled", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["context_id"], ["context.id"], name=op.f("fk_history_context_id")),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_history_device_id")),
        sa.ForeignKeyConstraint(["setup_id"], ["setup.id"], name=op.f("fk_history_setup_id")),
        sa.PrimaryKeyConstraint(
            "device_id", "setup_id", "context_id", "trust", "day", name=op.f("pk_history")
        ),
    )
    with op.batch_alter_table("history", schema=None) as batch_op:
        batch_op.create_index("ix_history_day", ["day"], unique=False)


def _make_report() -> None:
    op.create_table(
        "report",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("report_id", sa.String(length=36), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("clock_off", sa.Boolean(), nullable=False),
        sa.Column("setup_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("grade", sa.String(length=1), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("emulated", sa.Boolean(), nullable=False),
        sa.Column("golden_ok", sa.Boolean(), nullable=False),
        sa.Column("condition", sa.String(length=32), nullable=False),
        sa.Column("process_start_ns", sa.BigInteger(), nullable=True),
        sa.Column("init_ns", sa.BigInteger(), nullable=False),
        sa.Column("first_inference_ns", sa.BigInteger(), nullable=False),
        sa.Column("ready_ns", sa.BigInteger(), nullable=True),
        sa.Column("rss_peak_bytes", sa.BigInteger(), nullable=True),
        sa.Column("temperature_before_mc", sa.Integer(), nullable=True),
        sa.Column("temperature_mc", sa.Integer(), nullable=True),
        sa.Column("throttled", sa.Boolean(), nullable=True),
        sa.Column("load_1m", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_report_device_id")),
        sa.ForeignKeyConstraint(["setup_id"], ["setup.id"], name=op.f("fk_report_setup_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("report_id", name=op.f("uq_report_report_id")),
    )
    with op.batch_alter_table("report", schema=None) as batch_op:
        batch_op.create_index("ix_report_device", ["device_id", "created_ms"], unique=False)
        batch_op.create_index("ix_report_received_ms", ["received_ms"], unique=False)


def _make_standing() -> None:
    op.create_table(
        "standing",
        sa.Column(
            "context_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("trust", sa.String(length=16), nullable=False),
        sa.Column(
            "setup_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "device_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("p50_ns", sa.BigInteger(), nullable=True),
        sa.Column("p90_ns", sa.BigInteger(), nullable=True),
        sa.Column("p99_ns", sa.BigInteger(), nullable=True),
        sa.Column("samples_per_second", sa.Float(), nullable=True),
        sa.Column("ready_ns", sa.BigInteger(), nullable=True),
        sa.Column("rss_peak_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["context_id"], ["context.id"], name=op.f("fk_standing_context_id")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_standing_device_id")),
        sa.ForeignKeyConstraint(["setup_id"], ["setup.id"], name=op.f("fk_standing_setup_id")),
        sa.PrimaryKeyConstraint(
            "context_id", "trust", "setup_id", "device_id", name=op.f("pk_standing")
        ),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("standing", schema=None) as batch_op:
        batch_op.create_index("ix_standing_device_id", ["device_id"], unique=False)
        batch_op.create_index("ix_standing_setup_id", ["setup_id", "trust"], unique=False)


def _make_document() -> None:
    op.create_table(
        "document",
        sa.Column(
            "report_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("codec", sa.String(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"], ["report.id"], name=op.f("fk_document_report_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_document")),
    )


def _make_run() -> None:
    op.create_table(
        "run",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column(
            "report_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "context_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("queries", sa.BigInteger(), nullable=False),
        sa.Column("mean_ns", sa.BigInteger(), nullable=False),
        sa.Column("p50_ns", sa.BigInteger(), nullable=True),
        sa.Column("p90_ns", sa.BigInteger(), nullable=True),
        sa.Column("p95_ns", sa.BigInteger(), nullable=True),
        sa.Column("p99_ns", sa.BigInteger(), nullable=True),
        sa.Column("p999_ns", sa.BigInteger(), nullable=True),
        sa.Column("samples_per_second", sa.Float(), nullable=True),
        sa.Column("target_qps", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["context_id"], ["context.id"], name=op.f("fk_run_context_id")),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_run_device_id")),
        sa.ForeignKeyConstraint(
            ["report_id"], ["report.id"], name=op.f("fk_run_report_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.create_index("ix_run_device", ["device_id", "created_ms"], unique=False)
        batch_op.create_index("ix_run_report_id", ["report_id"], unique=False)


def downgrade() -> None:
    """Takes it back."""
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_index("ix_run_report_id")
        batch_op.drop_index("ix_run_device")

    op.drop_table("run")
    op.drop_table("document")
    with op.batch_alter_table("standing", schema=None) as batch_op:
        batch_op.drop_index("ix_standing_setup_id")
        batch_op.drop_index("ix_standing_device_id")

    op.drop_table("standing")
    with op.batch_alter_table("report", schema=None) as batch_op:
        batch_op.drop_index("ix_report_received_ms")
        batch_op.drop_index("ix_report_device")

    op.drop_table("report")
    with op.batch_alter_table("history", schema=None) as batch_op:
        batch_op.drop_index("ix_history_day")

    op.drop_table("history")
    with op.batch_alter_table("credential", schema=None) as batch_op:
        batch_op.drop_index("ix_credential_device_id")

    op.drop_table("credential")
    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.drop_index("ix_device_seen_ms")
        batch_op.drop_index("ix_device_release_id")
        batch_op.drop_index("ix_device_rank")

    op.drop_table("device")
    with op.batch_alter_table("setup", schema=None) as batch_op:
        batch_op.drop_index("ix_setup_release")

    op.drop_table("setup")
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.drop_index("ix_release_model")

    op.drop_table("release")
    with op.batch_alter_table("context", schema=None) as batch_op:
        batch_op.drop_index("ix_context_model")

    op.drop_table("context")
