"""Who may enter the studio: accounts, sessions, invitations and failed attempts, in the store's own database.

No token is stored, only its SHA-256, so that who reads the database cannot enter with what is found in it.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, func, insert, select, update

from heedful.data.store import items
from heedful.data.store.account_tables import accounts, attempts, invitations, metadata, secret, sessions
from heedful.data.store.judgements import check_name
from heedful.data.store.records import Annotator
from heedful.data.store.store import Store
from heedful.errors import UserError

Role = Literal["annotator", "researcher", "administrator"]
RANKS: Mapping[str, int] = {role: rank for rank, role in enumerate(get_args(Role))}
"""A higher role may do everything that a lower one may."""

IDLE_MS = 7 * 86_400_000
LIFE_MS = 30 * 86_400_000
INVITATION_MS = 7 * 86_400_000
SEEN_EVERY_MS = 300_000


class Refused(UserError):
    """Something about accounts that is not allowed; `key` names the sentence in the studio's wording."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who may enter. `name` is the annotator's name in the store; `password` is an Argon2id hash."""

    name: str
    role: Role
    password: str
    language: str = ""
    theme: str = ""
    active: bool = True
    created_ms: int = 0

    def may(self, role: Role) -> bool:
        """Whether this account's role is `role` or above."""
        return RANKS[self.role] >= RANKS[role]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link that lets one person in, once. `token` is the hash, not the link's secret."""

    token: str
    role: Role
    note: str
    made_by: str
    created_ms: int
    expires_ms: int
    used_by: str | None


class Accounts:
    """The accounts of one store; safe to use from many threads and processes, as the store is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.writing() as connection:
            metadata.create_all(connection, checkfirst=True)
            if connection.execute(select(secret.c.value)).first() is None:
                connection.execute(insert(secret).values(value=secrets.token_hex(32)))

    def secret(self) -> bytes:
        """Return the secret of this installation, made when the studio first opened the store."""
        with self._store.reading() as connection:
            return bytes.fromhex(connection.execute(select(secret.c.value)).scalar_one())

    def everyone(self) -> list[Account]:
        """Return all accounts by name."""
        with self._store.reading() as connection:
            return [Account(*row) for row in connection.execute(select(accounts).order_by(accounts.c.name))]

    def find(self, name: str) -> Account | None:
        """Return the account, or None."""
        with self._store.reading() as connection:
            return _find(connection, name)

    def invite(self, role: Role, *, made_by: str, note: str = "", life_ms: int = INVITATION_MS) -> str:
        """Make an invitation and return its secret, which is stored nowhere."""
        token, now = secrets.token_urlsafe(32), _now()
        row = {"token": hashed(token), "role": role, "note": note[:200], "made_by": made_by}
        with self._store.writing() as connection:
            connection.execute(
                insert(invitations).values(**row, created_ms=now, expires_ms=now + life_ms, used_by=None)
            )
        return token

    def first_invitation(self) -> str | None:
        """Return a fresh link secret for the administrator where nobody has an account yet, else None.

        The link of an earlier start stops working.
        """
        with self._store.writing() as connection:
            if connection.execute(select(func.count()).select_from(accounts)).scalar_one():
                return None
            connection.execute(delete(invitations).where(invitations.c.role == "administrator"))
        return self.invite("administrator", made_by="", life_ms=86_400_000)

    def invitation(self, token: str) -> Invitation | None:
        """Return the invitation that a link's secret opens, unless it is used or too old."""
        with self._store.reading() as connection:
            return _open_invitation(connection, token)

    def open_invitations(self) -> list[Invitation]:
        """Return the invitations that can still be used, newest first."""
        query = select(invitations).where(invitations.c.used_by.is_(None), invitations.c.expires_ms > _now())
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(invitations.c.created_ms.desc()))
            return [Invitation(*row) for row in rows]

    def withdraw(self, token_hash: str) -> None:
        """Make an unused invitation worthless."""
        with self._store.writing() as connection:
            unused = invitations.c.used_by.is_(None)
            connection.execute(delete(invitations).where(invitations.c.token == token_hash, unused))

    def accept(self, token: str, name: str, password_hash: str, language: str) -> Account:
        """Turn an invitation into an account and an annotator of the same name; all or nothing."""
        check_name(name, "A name")
        with self._store.writing() as connection:
            found = _open_invitation(connection, token)
            if found is None:
                raise Refused("invitation_gone", "This invitation was used or is too old: ask for a new one.")
            if _find(connection, name) is not None:
                raise Refused("name_taken", "This name is taken: choose another one.")
            taken = {annotator.name for annotator in items.get_annotators(connection)}
            if name in taken:
                raise Refused("name_taken", "This name is taken: choose another one.")
            account = Account(name, found.role, password_hash, language, "", True, _now())
            connection.execute(
                insert(accounts).values({field: getattr(account, field) for field in Account.__slots__})
            )
            items.put_annotators(connection, [Annotator(name)])
            connection.execute(
                update(invitations).where(invitations.c.token == found.token).values(used_by=name)
            )
        return account

    def change(self, name: str, **values: Any) -> None:
        """Set columns of an account; who is made inactive or gets a new password loses all sessions."""
        with self._store.writing() as connection:
            connection.execute(update(accounts).where(accounts.c.name == name).values(**values))
            if values.get("active") is False or "password" in values or "role" in values:
                connection.execute(delete(sessions).where(sessions.c.account == name))

    def enter(self, name: str) -> str:
        """Begin a session and return its token, which is stored nowhere."""
        token, now = secrets.token_urlsafe(32), _now()
        with self._store.writing() as connection:
            old = (sessions.c.seen_ms < now - IDLE_MS) | (sessions.c.created_ms < now - LIFE_MS)
            connection.execute(delete(sessions).where(old))
            connection.execute(
                insert(sessions).values(token=hashed(token), account=name, created_ms=now, seen_ms=now)
            )
        return token

    def session(self, token: str) -> Account | None:
        """Return whose session this is, or None if it has ended."""
        now = _now()
        joined = accounts.join(sessions, sessions.c.account == accounts.c.name)
        query = select(sessions.c.created_ms, sessions.c.seen_ms, *accounts.c).select_from(joined)
        with self._store.reading() as connection:
            row = connection.execute(query.where(sessions.c.token == hashed(token))).first()
        if row is None or row[0] < now - LIFE_MS or row[1] < now - IDLE_MS:
            return None
        account = Account(*row[2:])
        if not account.active:
            return None
        if row[1] < now - SEEN_EVERY_MS:
            with self._store.writing() as connection:
                connection.execute(
                    update(sessions).where(sessions.c.token == hashed(token)).values(seen_ms=now)
                )
        return account

    def leave(self, token: str) -> None:
        """End a session."""
        with self._store.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.token == hashed(token)))

    def leave_all(self, name: str) -> int:
        """End all sessions of an account, and return how many there were."""
        with self._store.writing() as connection:
            return connection.execute(delete(sessions).where(sessions.c.account == name)).rowcount

    def wait_ms(self, *keys: str) -> int:
        """Return for how many milliseconds none of these keys may try again."""
        query = select(func.max(attempts.c.until_ms)).where(attempts.c.key.in_(keys))
        with self._store.reading() as connection:
            return max((connection.execute(query).scalar() or 0) - _now(), 0)

    def failed(self, limits: Mapping[str, int]) -> None:
        """Count a failed attempt for each key; beyond its limit the wait doubles, up to 15 minutes."""
        now = _now()
        with self._store.writing() as connection:
            # A day without failures forgives.
            connection.execute(delete(attempts).where(attempts.c.until_ms < now - 86_400_000))
            for key, limit in limits.items():
                row = connection.execute(select(attempts.c.failures).where(attempts.c.key == key)).first()
                failures = (row[0] if row else 0) + 1
                wait = 0 if failures < limit else min(1000 * 2 ** (failures - limit + 1), 900_000)
                values = {"failures": failures, "until_ms": now + wait}
                if row:
                    connection.execute(update(attempts).where(attempts.c.key == key).values(**values))
                else:
                    connection.execute(insert(attempts).values(key=key, **values))

    def succeeded(self, key: str) -> None:
        """Forget the failed attempts of a key."""
        with self._store.writing() as connection:
            connection.execute(delete(attempts).where(attempts.c.key == key))


def hashed(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _find(connection: Connection, name: str) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.name == name)).first()
    return None if row is None else Account(*row)


def _open_invitation(connection: Connection, token: str) -> Invitation | None:
    row = connection.execute(select(invitations).where(invitations.c.token == hashed(token))).first()
    if row is None or row.used_by is not None or row.expires_ms <= _now():
        return None
    return Invitation(*row)


def _now() -> int:
    return int(time.time() * 1000)
