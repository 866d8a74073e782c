"""What the store's tests judge."""

from heedful.data.store import Annotator, Store
from heedful.types import Answer, Message, Prompt

ANNOTATORS = ("ann", "bo", "李")
PROMPTS = tuple(Prompt(f"p{n}", (Message("user", f"Ask {n}? 请问"),), "qa", {"gold": [n]}) for n in range(3))
ANSWERS = tuple(
    Answer(f"{prompt.id}-{letter}", prompt.id, f"{letter}\x00\ud800 答", "sft")
    for prompt in PROMPTS
    for letter in "abcd"
)


def fill(store: Store) -> None:
    """Add three prompts p0 to p2 with four answers p0-a to p0-d each, and three annotators."""
    store.add_annotators(Annotator(name, "simulated") for name in ANNOTATORS)
    store.add_prompts(PROMPTS)
    store.add_answers(ANSWERS, sampling={"temperature": 1.0})
