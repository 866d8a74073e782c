"""The studio's own tables: they stand beside those of the store, and are made when a studio first opens it."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, String, Table

metadata = MetaData()
accounts = Table(
    "studio_accounts",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("password", String, nullable=False),
    Column("language", String, nullable=False),
    Column("theme", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
sessions = Table(
    "studio_sessions",
    metadata,
    Column("token", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)
invitations = Table(
    "studio_invitations",
    metadata,
    Column("token", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("note", String, nullable=False),
    Column("made_by", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_by", String),
)
attempts = Table(
    "studio_attempts",
    metadata,
    Column("key", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)
secret = Table("studio_secret", metadata, Column("value", String, primary_key=True))
