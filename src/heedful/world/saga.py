"""Long stories of the built-in world: many passages, each with the true panel before and after it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random

from heedful.panels.panel import Entry, Panel
from heedful.types import Lang
from heedful.world.languages import lexicon
from heedful.world.saga_words import SAYINGS, Saying
from heedful.world.story import Split, held_out

PEOPLE, THINGS, PLACES, EVENTS = 4, 3, 4, 3
_SHARES = {
    "go": 0.26,
    "put": 0.2,
    "meet": 0.1,
    "die": 0.03,
    "see": 0.14,
    "find": 0.15,
    "recall": 0.06,
    "want": 0.06,
}
_ALIVE = 2  # nobody dies when no more are left


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a sentence tells: its kind, and the names by slot."""

    kind: str
    slots: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class State:
    """All that is so: where everyone and everything is (the dead are nowhere), and what never changes."""

    people: Mapping[str, str]  # name -> place, "" for the dead
    things: Mapping[str, str]  # name -> place
    places: tuple[str, ...]
    closed: str
    homes: Mapping[str, str]
    wishes: Mapping[str, str]
    refrain: str
    style: str
    lang: Lang

    @property
    def alive(self) -> list[str]:
        return [name for name, place in self.people.items() if place]


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, what it tells, and the true panels: `before` holds the plan that it was written to."""

    text: str
    events: tuple[Event, ...]
    before: Panel
    after: Panel
    state: State


def saga(lang: Lang, seed: int, number: int, passages: int, split: Split = "train") -> Iterator[Passage]:
    """A story: an opening that tells how things stand, then `passages` passages of three events each.

    The opening's panel before is empty. Every panel after holds the plan of the next passage.
    """
    rng = Random(f"saga {lang} {split} {seed} {number}")
    state = begun(lang, split, rng)
    events = opening(state)
    before = Panel(lang=lang)
    for turn in range(passages + 1):
        after_state = state
        for event in events if turn else ():
            after_state = happened(after_state, event)
        coming = planned(after_state, rng)
        after = panel_of(after_state, events if turn else (), coming)
        yield Passage(told(state, events), events, before, after, state)
        state, events, before = after_state, coming, after


def begun(lang: Lang, split: Split, rng: Random) -> State:
    """How a story begins. Who is in which place at first keeps the splits apart."""
    lex = lexicon(lang)
    places = rng.sample(lex.names["l"], PLACES + 2)
    people: dict[str, str] = {}
    while len(people) < PEOPLE:
        name, place = rng.choice(lex.by_type["p"]), rng.choice(places[:PLACES])
        # The hero's first place is one that he meets in one split only.
        if name not in people and (people or held_out(name, place) == (split == "test")):
            people[name] = place
    names = list(people)
    things = {name: rng.choice(places[:PLACES]) for name in rng.sample(lex.names["t"], THINGS)}
    return State(
        people,
        things,
        tuple(places[:PLACES]),
        places[PLACES],
        {name: rng.choice(places) for name in names[:2]},
        {names[0]: rng.choice(list(things))},
        rng.choice(lex.names["o"]),
        rng.choice(list(SAYINGS[lang].styles)),
        lang,
    )


def opening(state: State) -> tuple[Event, ...]:
    """Everything that is so at the beginning."""
    return (
        *(Event("see", {"p": p, "l": place}) for p, place in state.people.items()),
        Event("shut", {"l": state.closed}),
        *(Event("find", {"t": t, "l": place}) for t, place in state.things.items()),
        *(Event("recall", {"p": p, "l": place}) for p, place in state.homes.items()),
        *(Event("want", {"p": p, "t": thing}) for p, thing in state.wishes.items()),
    )


def planned(state: State, rng: Random, events: int = EVENTS) -> tuple[Event, ...]:
    """What may come next, drawn so that every event is possible when the ones before it have happened."""
    found: list[Event] = []
    while len(found) < events:
        event = _drawn(state, rng)
        if event is not None and event not in found:
            found.append(event)
            state = happened(state, event)
    return tuple(found)


def _drawn(state: State, rng: Random) -> Event | None:
    kind = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    who, place, thing = rng.choice(state.alive), rng.choice(state.places), rng.choice(list(state.things))
    if kind == "go":
        return Event("go", {"p": who, "l": place}) if state.people[who] != place else None
    if kind == "put":
        slots = {"p": who, "t": thing, "l": place}
        return Event("put", slots) if state.things[thing] != place else None
    if kind == "meet":
        others = [name for name in state.alive if name != who]
        return Event("meet", {"p": who, "q": rng.choice(others)}) if others else None
    if kind == "die":
        return Event("die", {"p": who}) if len(state.alive) > _ALIVE else None
    if kind == "find":
        return Event("find", {"t": thing, "l": state.things[thing]})
    if kind == "recall":
        who = rng.choice(list(state.homes))
        return Event("recall", {"p": who, "l": state.homes[who]})
    if kind == "want":
        who = rng.choice(list(state.wishes))
        return Event("want", {"p": who, "t": state.wishes[who]}) if state.people[who] else None
    anyone = rng.choice(list(state.people))
    if not state.people[anyone]:
        return Event("mourn", {"p": anyone})
    return Event("see", {"p": anyone, "l": state.people[anyone]})


def happened(state: State, event: Event) -> State:
    """How things stand after an event."""
    slots = event.slots
    if event.kind == "go":
        return replace(state, people={**state.people, slots["p"]: slots["l"]})
    if event.kind == "put":
        return replace(state, things={**state.things, slots["t"]: slots["l"]})
    if event.kind == "die":
        return replace(state, people={**state.people, slots["p"]: ""})
    return state


def told(state: State, events: tuple[Event, ...]) -> str:
    """A passage: the refrain, then a sentence an event, in the story's style."""
    saying = SAYINGS[state.lang]
    style = saying.styles[state.style]
    whole = (Event("came", {"o": state.refrain}), *events)
    return saying.space.join(sentence(saying, style[e.kind].format(**e.slots)) for e in whole)


def sentence(saying: Saying, clause: str) -> str:
    """A clause with a capital at its start and a full stop at its end."""
    return clause[0].upper() + clause[1:] + saying.stop


def line(lang: Lang, event: Event) -> str:
    """An event as a line of a plan."""
    return SAYINGS[lang].plan[event.kind].format(**event.slots)


def panel_of(state: State, lately: tuple[Event, ...], coming: tuple[Event, ...]) -> Panel:
    """The panel that says how things stand, what has just happened and what comes next."""
    saying = SAYINGS[state.lang]
    return Panel(
        people=tuple(
            Entry(name, saying.at.format(l=place) if place else saying.dead)
            for name, place in state.people.items()
        ),
        places=(Entry(state.closed, saying.closed),),
        things=tuple(Entry(name, saying.at.format(l=place)) for name, place in state.things.items()),
        long_memory=tuple(saying.home.format(p=p, l=place) for p, place in state.homes.items()),
        rules=(saying.rule.format(o=state.refrain),),
        goals=tuple(saying.wish.format(p=p, t=thing) for p, thing in state.wishes.items()),
        style=(state.style,),
        short_memory=tuple(line(state.lang, e) for e in lately),
        plan=tuple(line(state.lang, e) for e in coming),
        lang=state.lang,
    )
