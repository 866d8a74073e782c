"""The feedback store: prompts, answers, and every judgement of them, exactly once."""

from heedful.data.store.convert import pairs, preferences
from heedful.data.store.exchange import Exported, export_preferences, import_preferences
from heedful.data.store.judgements import event_id
from heedful.data.store.records import Annotator, Event, Flag, Judgement, Skip, Where
from heedful.data.store.store import Store

__all__ = [
    "Annotator",
    "Event",
    "Exported",
    "Flag",
    "Judgement",
    "Skip",
    "Store",
    "Where",
    "event_id",
    "export_preferences",
    "import_preferences",
    "pairs",
    "preferences",
]
