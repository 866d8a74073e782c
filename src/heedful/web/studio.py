"""What all routes share: the store, its queue, the accounts, and the settings."""

from dataclasses import dataclass, field

from heedful.data.store import Store
from heedful.data.store.accounts import Accounts, Role
from heedful.people import Queue
from heedful.people.kept import Kept
from heedful.web.settings import Settings


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the bar on top: where, the wording's key of its name, and from which role on it shows."""

    path: str
    word: str
    role: Role = "annotator"


@dataclass(frozen=True)
class Studio:
    """One studio on one store; made once a process, safe to use from many threads."""

    store: Store
    settings: Settings
    links: tuple[Link, ...] = ()
    accounts: Accounts = field(init=False)
    queue: Queue = field(init=False)
    figures: Kept = field(init=False)
    secret: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "accounts", Accounts(self.store))
        object.__setattr__(self, "queue", Queue(self.store))
        object.__setattr__(self, "figures", Kept(self.store))
        object.__setattr__(self, "secret", self.accounts.secret())
