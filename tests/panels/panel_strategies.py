"""Random panels for the laws: any text that a person could paste, in both languages."""

from typing import Any

from hypothesis import strategies as st

from heedful.panels.panel import FIELDS, NAMED, Entry, Panel, clean

ODD = st.sampled_from(
    [":", "\\", "：", "drop", "plan", "\\:", "person", "删去", "\x85", "\u2028", "\t", "  "]
)
WORD = st.one_of(ODD, st.text(min_size=1, max_size=8))
TEXTS = st.lists(WORD, min_size=1, max_size=4).map(" ".join).map(clean).filter(bool)
STATES = st.one_of(st.just(""), TEXTS)


def entries() -> st.SearchStrategy[tuple[Entry, ...]]:
    """Entries with names that differ."""
    one = st.builds(Entry, TEXTS, STATES)
    return st.lists(one, max_size=4, unique_by=lambda e: e.name).map(tuple)


def panels(lang: str) -> st.SearchStrategy[Panel]:
    """Panels of one language; names differ within a field, and so do texts."""
    texts = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
    fields: dict[str, Any] = {name: entries() if name in NAMED else texts for name in FIELDS}
    return st.builds(Panel, **fields, lang=st.just(lang))
