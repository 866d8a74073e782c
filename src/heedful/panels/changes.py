"""What differs between two panels, as a list for people and as a patch that a model can write.

Law: apply(before, patch(before, after)) has the items of `after`. A patch names only what changes, so what it does
not name cannot be garbled by whoever writes it.
"""

from collections.abc import Collection
from dataclasses import dataclass

from heedful.panels import text
from heedful.panels.panel import FIELDS, NAMED, REWRITTEN, Entry, Field, Panel

_ORDER: tuple[Field, ...] = ("short_memory", *(field for field in FIELDS if field != "short_memory"))


@dataclass(frozen=True, slots=True)
class Change:
    """One item that was added (`before` empty), taken out (`after` empty) or changed; entries have a `name`."""

    field: Field
    name: str
    before: str
    after: str


def diff(before: Panel, after: Panel) -> list[Change]:
    """All changes in the order of `FIELDS`; a change of order alone is none."""
    found: list[Change] = []
    for field in FIELDS:
        if field in NAMED:
            old = {e.name: e.state for e in before.entries(field)}
            new = {e.name: e.state for e in after.entries(field)}
            for name in dict.fromkeys([*old, *new]):
                there, stays = name in old, name in new
                if not (there and stays and old[name] == new[name]):
                    found.append(
                        Change(
                            field,
                            name,
                            old.get(name) or name if there else "",
                            new.get(name) or name if stays else "",
                        )
                    )
        else:
            a, b = before.texts(field), after.texts(field)
            found += [Change(field, "", line, "") for line in a if line not in b]
            found += [Change(field, "", "", line) for line in b if line not in a]
    return found


def patch(before: Panel, after: Panel) -> str:
    """The lines that make `after` of `before`: new and changed items as they stand in a panel, and `drop` lines.

    What has just happened comes first: whoever writes the rest can read it there.
    """
    lang, words = before.lang, text.WORDS[before.lang]
    drop = words.drop + words.after_field
    found: list[str] = []
    for field in _ORDER:
        old, new = text.lines(before, field), text.lines(after, field)
        if field in NAMED:
            names = {e.name for e in after.entries(field)}
            gone = [Entry(e.name) for e in before.entries(field) if e.name not in names]
            found += [drop + text.entry_line(lang, field, e) for e in gone]
            found += [line for line in new if line not in old]
        elif field in REWRITTEN:
            if old != new:
                found += new or [drop + words.field[field]]
        else:
            found += [drop + line for line in old if line not in new]
            found += [line for line in new if line not in old]
    return "\n".join(found)


def apply(before: Panel, patch_text: str, *, locked: Collection[Field] = ()) -> tuple[Panel, list[str]]:
    """`before` with a patch laid over it, and the lines that are none of a patch, which change nothing.

    A field in `locked` stays as it is. A field of `REWRITTEN` is replaced by the lines that the patch has for it.
    """
    words = text.WORDS[before.lang]
    drop = words.drop + words.after_field
    panel, bad, begun = before, list[str](), set[Field]()
    for line in filter(None, (raw.strip() for raw in patch_text.split("\n"))):
        whole = next((f for f, word in words.field.items() if line == drop + word), None)
        if whole is not None:
            panel = panel if whole in locked else panel.with_field(whole, ())
            continue
        taken_out = line.startswith(drop)
        found = text.parse_line(line.removeprefix(drop), before.lang)
        if found is None:
            bad.append(line)
            continue
        field, item = found
        if field in locked:
            continue
        if field in REWRITTEN and field not in begun and not taken_out:
            begun.add(field)
            panel = panel.with_field(field, ())
        panel = _without(panel, field, item) if taken_out else _with(panel, field, item)
    return panel, bad


def _with(panel: Panel, field: Field, item: Entry | str) -> Panel:
    if isinstance(item, Entry):
        old = panel.entries(field)
        if any(e.name == item.name for e in old):
            return panel.with_field(field, (item if e.name == item.name else e for e in old))
        return panel.with_field(field, (*old, item))
    texts = panel.texts(field)
    return panel if item in texts and field not in REWRITTEN else panel.with_field(field, (*texts, item))


def _without(panel: Panel, field: Field, item: Entry | str) -> Panel:
    if isinstance(item, Entry):
        return panel.with_field(field, (e for e in panel.entries(field) if e.name != item.name))
    return panel.with_field(field, (line for line in panel.texts(field) if line != item))
