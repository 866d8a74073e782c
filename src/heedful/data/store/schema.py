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
    UniqueConstraint,
    Uuid,
)

VERSION = 2

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
    # Characters of the text; statistics need it without reading the texts.
    Column("length", Integer, nullable=False, server_default="0"),
)

annotators = Table(
    "annotators",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("qualified", Boolean),
    Column("reason", Text, nullable=False),
    Column("agreement", JSON, nullable=False),
    Column("paused", Text, nullable=False, server_default=""),
    # Hidden gold counts from this event on: whoever is let in again starts anew.
    Column("gold_after", BigInteger, nullable=False, server_default="0"),
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
    Column("task", String),
    Index("events_by_item", "annotator", "kind", "item", "seq"),
)

_UNDONE = "EXISTS (SELECT 1 FROM events AS undo WHERE undo.target = {0}.id{1})"

# Two anti-joins rather than a window function: they let a filter on a prompt or a round use its index.
_CURRENT = f"""SELECT e.* FROM events AS e
WHERE e.kind <> 'undo'{{1}} AND NOT {_UNDONE.format("e", "{0}")}
AND NOT EXISTS (
    SELECT 1 FROM events AS later
    WHERE later.annotator = e.annotator AND later.kind = e.kind AND later.item = e.item
    AND later.seq > e.seq{{2}} AND NOT {_UNDONE.format("later", "{0}")}
)"""

CURRENT = "CREATE VIEW judgements AS " + _CURRENT.format("", "", "")

AS_OF = _CURRENT.format(*(f" AND {name}.seq <= :as_of" for name in ("undo", "e", "later")))
"""The judgements as they stood when the event of that number was the newest."""

names = Table(
    "names",
    metadata,
    # The numbers of annotators' names and of criteria in `marks`.
    Column("number", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
)

marks = Table(
    "marks",
    metadata,
    # What the current judgements say, as numbers: written with each event, and made anew from the journal by
    # `marks.rebuild`. A ranking has one row a pair of answers, a step label one row a step.
    Column("event", BigInteger, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("kind", Integer, nullable=False),
    Column("batch", Integer, nullable=False, index=True),
    Column("round", Integer, nullable=False),
    Column("criterion", Integer, nullable=False),
    Column("annotator", Integer, nullable=False),
    Column("prompt", BigInteger, nullable=False),
    # Numbers of answers; in pairs a < b, and `value` > 0 says that a is better; `side` is 1 if a was shown first.
    Column("a", BigInteger, nullable=False),
    Column("b", BigInteger, nullable=False),
    Column("value", Integer, nullable=False),
    Column("side", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String, primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # Counters, so that no submission has to count: tasks, slots wanted and answered (gold aside), active time.
    Column("tasks", Integer, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("batch", ForeignKey("batches.id"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("answers", JSON, nullable=False),
    # The researchers' own reply: such a task is hidden gold, and everybody gets it once.
    Column("gold", JSON),
    Column("is_gold", Boolean, nullable=False),
    # How many may still take it; kept beside the counts so that an index finds the next task.
    Column("room", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("held", Integer, nullable=False),
    Column("available", Boolean, nullable=False),
    Index("tasks_to_do", "batch", "is_gold", "available", "position"),
)

work = Table(
    "work",
    metadata,
    # Where an annotator stands with a task: held by a lease, answered, skipped, taken back or let go.
    Column("task", ForeignKey("tasks.id"), primary_key=True),
    Column("annotator", ForeignKey("annotators.name"), primary_key=True),
    Column("batch", String, nullable=False),
    Column("is_gold", Boolean, nullable=False),
    Column("state", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("lease", Uuid, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    # Positions of the task's answers in the order in which this annotator sees them.
    Column("shown", JSON, nullable=False),
    Column("draft", JSON),
    Column("submission", Uuid),
    Column("changed_ms", BigInteger, nullable=False),
    Index("work_by_annotator", "annotator", "batch", "state"),
    Index("work_by_batch", "batch", "state", "annotator"),
    Index("work_by_time", "annotator", "changed_ms"),
    Index("work_by_expiry", "state", "expires_ms"),
)

submissions = Table(
    "submissions",
    metadata,
    # What was sent, word for word, append-only; a submission's events lie between its two numbers.
    Column("id", Uuid, primary_key=True),
    Column("task", ForeignKey("tasks.id"), nullable=False),
    Column("annotator", ForeignKey("annotators.name"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("reply", JSON, nullable=False),
    Column("shown", JSON, nullable=False),
    Column("first_event", BigInteger, nullable=False),
    Column("last_event", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("client_ms", BigInteger),
    Column("server_ms", BigInteger, nullable=False),
    UniqueConstraint("task", "annotator", "version"),
    Index("submissions_by_annotator", "annotator"),
)

figures = Table(
    "figures",
    metadata,
    # What was found at an earlier event, so that a page need not wait for what is found now.
    Column("question", String, primary_key=True),
    Column("as_of", BigInteger, nullable=False),
    Column("found", JSON, nullable=False),
)

judgements = Table("judgements", MetaData(), *(Column(column.name, column.type) for column in events.columns))

_SQLITE_KEPT = """CREATE TRIGGER {0}_no_{1} BEFORE {1} ON {0}
BEGIN SELECT RAISE(ABORT, '{0} are append-only'); END"""

_POSTGRES_KEPT = (
    """CREATE FUNCTION {0}_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{0} are append-only'; END $$""",
    """CREATE TRIGGER {0}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {0}
    FOR EACH STATEMENT EXECUTE FUNCTION {0}_append_only()""",
)


def _kept(table: str) -> dict[str, tuple[str, ...]]:
    """For each database, the triggers that guard a table against change."""
    return {
        "sqlite": tuple(_SQLITE_KEPT.format(table, word) for word in ("UPDATE", "DELETE")),
        "postgresql": tuple(statement.format(table) for statement in _POSTGRES_KEPT),
    }


EVENTS_KEPT, SUBMISSIONS_KEPT = _kept("events"), _kept("submissions")

BEYOND_TABLES = {
    name: (CURRENT, *statements, *SUBMISSIONS_KEPT[name]) for name, statements in EVENTS_KEPT.items()
}
"""For each database, what is created after the tables: the view, and the triggers that guard the journal."""
