"""Stories of the writer's desk in the store's own database: each belongs to one account."""

import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text, insert, select, update

from heedful.data.store.store import Store

metadata = MetaData()
stories = Table(
    "studio_stories",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    Column("title", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A story as it lies in the store. `version` counts its changes: who saves must have seen the newest."""

    id: str
    title: str
    version: int
    content: dict[str, Any]
    changed_ms: int


class Stories:
    """The stories of one store; safe to use from many threads and processes, as the store is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.writing() as connection:
            metadata.create_all(connection, checkfirst=True)

    def add(self, account: str, title: str, content: dict[str, Any]) -> str:
        """Keep a new story, and return its id."""
        name = uuid4().hex
        row = {"id": name, "account": account, "title": title, "version": 0, "content": json.dumps(content)}
        with self._store.writing() as connection:
            connection.execute(insert(stories).values(**row, changed_ms=_now()))
        return name

    def find(self, account: str, name: str) -> Kept | None:
        """A story of this account; nobody else's is found."""
        mine = (stories.c.account == account) & (stories.c.id == name)
        with self._store.reading() as connection:
            row = connection.execute(select(stories).where(mine)).mappings().first()
        if row is None:
            return None
        return Kept(row["id"], row["title"], row["version"], json.loads(row["content"]), row["changed_ms"])

    def save(self, account: str, kept: Kept, content: dict[str, Any]) -> bool:
        """Put new content in the place of what was seen; False if it has changed since."""
        seen = (
            (stories.c.account == account) & (stories.c.id == kept.id) & (stories.c.version == kept.version)
        )
        changed = {"version": kept.version + 1, "content": json.dumps(content), "changed_ms": _now()}
        with self._store.writing() as connection:
            return connection.execute(update(stories).where(seen).values(**changed)).rowcount == 1

    def of(self, account: str) -> list[tuple[str, str, int]]:
        """Id, title and time of change of an account's stories, newest first."""
        wanted = select(stories.c.id, stories.c.title, stories.c.changed_ms).where(
            stories.c.account == account
        )
        with self._store.reading() as connection:
            rows = connection.execute(wanted.order_by(stories.c.changed_ms.desc()).limit(200)).all()
        return [(name, title, changed) for name, title, changed in rows]


def _now() -> int:
    return time.time_ns() // 1_000_000
