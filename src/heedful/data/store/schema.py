"""The tables, and the view that turns the journal of events into current judgements."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)

VERSION = 1

metadata = MetaData()

version = Table(
    "heedful_store",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", String, primary_key=True),
    Column("seq", BigInteger, nullable=False, unique=True),
    Column("round", Integer, nullable=False, index=True),
    Column("task", String, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("columns", JSON, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("id", String, primary_key=True),
    Column("seq", BigInteger, nullable=False, unique=True),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False, index=True),
    # A model may write U+0000, which PostgreSQL's text refuses; as a JSON string every text fits.
    Column("text", JSON, nullable=False),
    Column("policy", String, nullable=False),
    Column("round", Integer, nullable=False, index=True),
    Column("sampling", JSON, nullable=False),
    Column("finished", Boolean, nullable=False),
)

annotators = Table(
    "annotators",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("qualified", Boolean),
    Column("reason", Text, nullable=False),
    Column("agreement", JSON, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seq", BigInteger, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("annotator", ForeignKey("annotators.name"), nullable=False),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False, index=True),
    Column("item", String, nullable=False),
    Column("criterion", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("payload", JSON, nullable=False),
    # Unique: an event is taken back at most once.
    Column("target", ForeignKey("events.id"), unique=True),
    Column("seconds", Float, nullable=False),
    Column("client_ms", BigInteger),
    Column("server_ms", BigInteger, nullable=False),
    Index("events_by_item", "annotator", "kind", "item", "seq"),
)

_UNDONE = "EXISTS (SELECT 1 FROM events AS undo WHERE undo.target = {0}.id)"

# Two anti-joins rather than a window function: they let a filter on a prompt or a round use its index.
CURRENT = f"""CREATE VIEW judgements AS
SELECT e.* FROM events AS e
WHERE e.kind <> 'undo' AND NOT {_UNDONE.format("e")}
AND NOT EXISTS (
    SELECT 1 FROM events AS later
    WHERE later.annotator = e.annotator AND later.kind = e.kind AND later.item = e.item
    AND later.seq > e.seq AND NOT {_UNDONE.format("later")}
)"""

judgements = Table("judgements", MetaData(), *(Column(column.name, column.type) for column in events.columns))

_SQLITE_JOURNAL = """CREATE TRIGGER events_no_{0} BEFORE {0} ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"""

_POSTGRES_JOURNAL = (
    """CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$""",
    """CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()""",
)

BEYOND_TABLES = {
    "sqlite": (CURRENT, _SQLITE_JOURNAL.format("UPDATE"), _SQLITE_JOURNAL.format("DELETE")),
    "postgresql": (CURRENT, *_POSTGRES_JOURNAL),
}
"""For each database, what is created after the tables: the view, and the triggers that guard the journal."""
