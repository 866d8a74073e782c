"""What a person chose or changed at the desk, as judgements in the store; with consent only."""

import json
from uuid import NAMESPACE_URL, uuid5

from heedful.data.store import Store
from heedful.data.store.records import Annotator
from heedful.panels import desk, exchange, requests
from heedful.panels.panel import Panel
from heedful.types import Answer, PanelComparison, PlanChoice, Prompt


def judged(store: Store, annotator: str, story: str, now: desk.Desk, *, since: int) -> int:
    """Store the choices after the first `since`; how many there were. The same choice is stored once."""
    new = list(enumerate(now.choices))[since:] if now.consent else []
    for number, choice in new:
        name = f"desk-{story}-{number}"
        panels = [_panel(choice.panel, choice.kind, said) for said in (choice.chosen, *choice.others)]
        if choice.kind == "plan":
            messages, texts = (
                requests.plan(choice.panel, now.condition),
                [requests.plan_of(p) for p in panels],
            )
        else:
            passage = next(t.passage for t in now.turns if t.before == choice.panel and t.passage)
            messages = requests.update(choice.panel, passage, now.condition)
            texts = [json.dumps(exchange.to_json(p), ensure_ascii=False) for p in panels]
        answers = [
            Answer(f"{name}-{n}", name, text, "person" if not n else "desk") for n, text in enumerate(texts)
        ]
        ids = tuple(a.id for a in answers)
        store.add_annotators([Annotator(annotator, "person")])
        store.add_prompts([Prompt(name, messages, "panel")])
        store.add_answers(answers)
        judgement = (
            PlanChoice(name, annotator, ids, ids[0])
            if choice.kind == "plan"
            else PanelComparison(name, ids[0], ids[1], annotator, 2)
        )
        store.submit(judgement, uuid=uuid5(NAMESPACE_URL, name))
    return len(new)


def _panel(before: Panel, kind: str, said: str) -> Panel:
    if kind == "plan":
        return before.with_field("plan", said.split("\n"))
    return requests.updated(before, said)[0]
