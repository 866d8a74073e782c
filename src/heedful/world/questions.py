"""Questions about a passage, each about one fact that it tells or leaves out."""

from dataclasses import dataclass
from random import Random

from heedful.world.grammar import Fact, fill
from heedful.world.languages import lexicon
from heedful.world.story import Story

# Kind of question -> kind of fact asked about, slots that the question names, slots that it asks for.
ASKED: dict[str, tuple[str, str, str]] = {
    "trait": ("trait", "p", "a"),
    "home": ("home", "p", "l"),
    "goal": ("goal", "p", "vt"),
    "who": ("goal", "vt", "p"),
    "where": ("where", "t", "l"),
    "event": ("event", "pt", "e"),
    "obstacle": ("obstacle", "p", "o"),
    "help": ("help", "p", "q"),
    "promise": ("promise", "p", "f"),
    "mood": ("mood", "p", "m"),
}


@dataclass(frozen=True)
class Question:
    """A question in words; `fact` is the true answer, `told` says whether the passage tells it."""

    kind: str
    text: str
    fact: Fact
    told: bool


def ask(story: Story, rng: Random) -> list[Question]:
    """All questions about a story, in random order, each in a random wording."""
    lex = lexicon(story.lang)
    met = {name for fact in story.told for name in fact.slots.values()}
    found = []
    for kind, (about, _, _) in ASKED.items():
        for fact in story.facts:
            # A question may only name people whom the passage names.
            if fact.kind != about or (kind == "trait" and fact.slots["p"] not in met):
                continue
            told = fact in story.told
            text = fill(lex, rng.choice(lex.questions[kind]), {**story.goal, **fact.slots})
            found.append(Question(kind, text, fact, told))
    rng.shuffle(found)
    return found
