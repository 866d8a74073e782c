"""The table of judgements that came out of conversations, before and after a researcher has reviewed them."""

from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table, Uuid

from heedful.data.store.schema import metadata

wild = Table(
    "wild",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("person", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("answers", JSON, nullable=False),
    Column("value", Integer, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("reviewer", String, nullable=False),
    Column("round", Integer),
    Column("created_ms", BigInteger, nullable=False),
)
