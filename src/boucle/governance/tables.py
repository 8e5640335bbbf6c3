"""Tables of governance: policies and asked changes of them, what gates and persons said, waivers, permits."""

from sqlalchemy import JSON, Boolean, Column, Index, Integer, String, Table, Text

from boucle.kernel.database import metadata

policies = Table(
    "policies",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    # Both empty: from then on there is none.
    Column("policy_digest", String(64)),
    Column("policy", Text),
    Column("entered_at", String(32), nullable=False),
    # Empty: the project's file.
    Column("set_by", String(200)),
)

gate_reports = Table(
    "gate_reports",
    metadata,
    Column("project_id", String(100), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("policy_digest", String(64), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("report", Text, nullable=False),
    Column("judged_at", String(32), nullable=False),
)

permits = Table(
    "permits",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(100), nullable=False),
    Column("model", String(100), nullable=False),
    Column("alias", String(100), nullable=False),
    Column("number", Integer, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("evaluation_digest", String(64), nullable=False),
    Column("policy_digest", String(64), nullable=False),
    Column("action", String(20), nullable=False),
    Column("issued_at", String(32), nullable=False),
    Column("issued_to", String(200), nullable=False),
    Column("used_at", String(32), nullable=True),
    Column("waivers", JSON),
)

policy_changes = Table(
    "policy_changes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(100), nullable=False),
    Column("model", String(256), nullable=False),
    # The sequence of the policy that it is to replace.
    Column("base", Integer, nullable=False),
    Column("policy", Text),
    Column("asked_by", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_at", String(32), nullable=False),
    Column("entered_at", String(32)),
    Index("ix_policy_changes_model", "project_id", "model"),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(100), nullable=False),
    Column("model", String(256), nullable=False),
    Column("number", Integer),
    Column("bundle_digest", String(64)),
    Column("evaluation_digest", String(64)),
    Column("change_id", String(64)),
    Column("reviewer", String(200), nullable=False),
    Column("verdict", String(10), nullable=False),
    Column("comment", Text, nullable=False),
    Column("reviewed_at", String(32), nullable=False),
    Index("ix_reviews_model", "project_id", "model"),
)

waivers = Table(
    "waivers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(100), nullable=False),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("evaluation_digest", String(64), nullable=False),
    Column("policy_digest", String(64), nullable=False),
    Column("gate", String(300), nullable=False),
    Column("reason", Text, nullable=False),
    Column("approved_by", String(200), nullable=False),
    Column("granted_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Index("ix_waivers_model", "project_id", "model"),
)

signatures = Table(
    "signatures",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", String(100), nullable=False),
    Column("bundle_digest", String(64), nullable=False),
    Column("statement_digest", String(64), nullable=False),
    Column("key_fingerprint", String(64), nullable=False),
    Column("key", Text, nullable=False),
    Column("added_by", String(200), nullable=False),
    Column("added_at", String(32), nullable=False),
    Index("ix_signatures_bundle", "project_id", "bundle_digest"),
)
