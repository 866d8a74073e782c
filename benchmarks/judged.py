"""The answers of a run's SFT policy and the judgements of them, without the answers borrowed from other prompts."""

from pathlib import Path

from heedful.data import formats
from heedful.data.store.store import Store
from heedful.types import Preference, Prompt


def sampled(run: Path) -> list[tuple[Prompt, str]]:
    """The judged answers of the SFT policy, without those that were borrowed: a prompt's last is the next one's."""
    with Store.open(run / "feedback.db", create=False) as store:
        prompts = list(store.prompts())
        texts: dict[str, list[str]] = {p.id: [] for p in prompts}
        for answer in store.answers():
            texts[answer.prompt_id].append(answer.text)
    after = [*prompts[1:], prompts[0]]
    for prompt, following in zip(prompts, after, strict=True):
        if texts[prompt.id][-1] in texts[following.id]:
            texts[prompt.id] = texts[prompt.id][:-1]
    return [(p, t) for p in prompts for t in texts[p.id]]


def judgements(run: Path) -> list[Preference]:
    """The comparisons of a run's first round between answers to the prompt itself."""
    given = list(formats.read_preferences(run / "round-1" / "feedback" / "preferences.jsonl"))
    if not (run / "feedback.db").exists():
        return given
    own: dict[object, set[str]] = {}
    for prompt, text in sampled(run):
        own.setdefault(prompt.messages, set()).add(text)
    return [p for p in given if {p.chosen, p.rejected} <= own.get(p.messages, set())]
