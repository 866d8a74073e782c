"""What a person chose or changed at the desk, as judgements in the store; with consent only."""

from uuid import NAMESPACE_URL, uuid5

from heedful.data.store import Store
from heedful.data.store.records import Annotator
from heedful.panels import desk
from heedful.types import Answer, PanelComparison, PlanChoice, Prompt


def judged(store: Store, annotator: str, story: str, now: desk.Desk, *, since: int) -> int:
    """Store the choices after the first `since`; how many there were. The same choice is stored once."""
    new = list(enumerate(now.choices))[since:] if now.consent else []
    for number, choice in new:
        name = f"desk-{story}-{number}"
        answers = [
            Answer(f"{name}-{n}", name, text, "desk" if n else "person")
            for n, text in enumerate(desk.spelled(choice))
        ]
        ids = tuple(a.id for a in answers)
        store.add_annotators([Annotator(annotator, "person")])
        store.add_prompts([Prompt(name, desk.request(now, choice), "panel")])
        store.add_answers(answers)
        judgement = (
            PlanChoice(name, annotator, ids, ids[0])
            if choice.kind == "plan"
            else PanelComparison(name, ids[0], ids[1], annotator, 2)
        )
        store.submit(judgement, uuid=uuid5(NAMESPACE_URL, name))
    return len(new)
