"""Plain text to pretrain on: many short documents that say the same names again and again.

A small model learns to copy a name from far back only after it has learnt to go on with what was said
before. So the corpus begins with lists said twice, goes on with short stories told twice, and ends with
full stories, retold and asked about.
"""

from collections.abc import Iterator
from random import Random

from heedful.types import Lang
from heedful.world import grammar, questions, story, tasks
from heedful.world.demonstrators import demonstrate
from heedful.world.languages import lexicon
from heedful.world.lexicon import Lexicon
from heedful.world.story import Split, Story, meet_in_test

_LISTS = 2000  # documents to begin with that are lists, at most a quarter of all
_LIST = 0.12  # share of the other documents that are lists, else copying is forgotten
_TALK = 0.2  # share of the other documents that are requests with somebody's answer
_EASY = 0.6  # share of the documents over which short stories give way to full ones
_RETOLD = 0.15  # share of the full stories that are told again in other words
_MATERIALS = 0.2  # share of the full stories that stand under a list of their materials
_UNSAID = 0.6  # share of the stories that are asked about something that they do not tell
_CHECKS = 3  # statements about a story that are called true or false: a reward model has to tell them apart


def _answer(tale: Story, question: questions.Question) -> str:
    lex = lexicon(tale.lang)
    if question.told:
        return grammar.finish(lex, grammar.say(lex, question.fact))
    return _unsaid(tale, question)


def _unsaid(tale: Story, question: questions.Question) -> str:
    """That the story does not say what was asked."""
    lex = lexicon(tale.lang)
    unsaid = grammar.fill(lex, lex.unsaid[question.kind], {**tale.goal, **question.fact.slots})
    return grammar.finish(lex, lex.wordings["abstain"][0] + unsaid)


def _quiz(tale: Story, rng: Random) -> list[str]:
    """All that was told, asked and answered, and at times something that was not."""
    asked = questions.ask(tale, rng)
    open_ = [question for question in asked if not question.told][: rng.random() < _UNSAID]
    asked = [question for question in asked if question.told or question in open_]
    return [f"{question.text}\n{_answer(tale, question)}" for question in asked]


def _checks(tale: Story, rng: Random) -> list[str]:
    """Answers to questions about the story, true ones and false ones, each said to be the one or the other."""
    lex = lexicon(tale.lang)
    told = [name for fact in tale.told for name in fact.slots.values()]
    company = [name for fact in tale.facts for name in fact.slots.values()]
    lines = []
    for question in questions.ask(tale, rng)[:_CHECKS]:
        slots, asked = dict(question.fact.slots), questions.ASKED[question.kind][2][-1]
        if rng.random() < 0.25:  # it says that it was not told
            right, statement = not question.told, _unsaid(tale, question)
        else:
            right = question.told and rng.random() < 0.5
            if question.told and not right:
                kin = lex.by_type["p" if asked == "q" else asked]
                others = [name for name in told if name in kin and name != slots[asked]]
                slots[asked] = rng.choice(others or story.strangers(lex, asked, company) or [slots[asked]])
                company.append(slots[asked])
                right = slots == question.fact.slots
            statement = grammar.finish(lex, grammar.say(lex, grammar.Fact(question.fact.kind, slots)))
        lines.append(statement + lex.space + lex.wordings["true" if right else "false"][0])
    return lines


def names_list(lex: Lexicon, rng: Random) -> str:
    """Names in a random order, said over and over: here what follows a name is what followed it before."""
    names: list[str] = []
    while len(names) < 12:
        name = rng.choice(lex.by_type[rng.choice("pppllttfavoem")])
        if name not in names and not any(meet_in_test(lex, name, other) for other in names):
            names.append(name)
    return lex.word_space.join([lex.bare_name(name) for name in names] * 4)


def _talk(lang: Lang, split: Split, rng: Random, name: str) -> str:
    """A request and somebody's answer, good or bad, as one overhears them."""
    prompt = tasks.make(lang, split, rng.choice(("write", "continue", "harmful")), name, rng)
    return f"{prompt.messages[0].content}\n{demonstrate(prompt, 0).text}"


def _story(lang: Lang, split: Split, rng: Random, ease: float) -> str:
    lex = lexicon(lang)
    easy = rng.random() < ease
    tale = story.draw(lang, split, rng, rng.randint(2, 3) if easy else rng.randint(4, 7))
    passage = grammar.tell(lex, tale.told, tale.hero, rng)
    if rng.random() < ease:
        return "\n".join([passage, passage, *_quiz(tale, rng)])
    asked = [*_quiz(tale, rng), *_checks(tale, rng)]
    also = rng.random()
    if also < _RETOLD:
        again = [grammar.finish(lex, grammar.say(lex, fact, rng)) for fact in tale.told]
        return "\n".join([passage, lex.space.join(rng.sample(again, len(again))), *asked])
    if also < _RETOLD + _MATERIALS:
        return "\n".join([_materials(tale), passage, *asked])
    return "\n".join([passage, *asked])


def _materials(tale: Story) -> str:
    """The names that a story is made of, as a list."""
    lex = lexicon(tale.lang)
    names: list[str] = []
    for fact in tale.told:
        goal = [grammar.fill(lex, lex.wordings["goal_words"][0], fact.slots)] if "v" in fact.slots else []
        names += goal or [name for slot, name in fact.slots.items() if slot not in "tam"]
    return grammar.finish(lex, lex.wordings["and"][0].join(dict.fromkeys(names)))


def corpus(lang: Lang, seed: int, documents: int, split: Split = "train") -> Iterator[str]:
    """Documents in the order to learn from."""
    first = min(_LISTS, documents // 4) if split == "train" else 0
    for index in range(documents):
        rng = Random(f"corpus {lang} {split} {seed} {index}")
        ease = max(0.0, 1.0 - (index - first) / (_EASY * documents)) if split == "train" else 0.0
        kind = rng.random()
        if index < first or (split == "train" and kind < _LIST):
            yield names_list(lexicon(lang), rng)
        elif kind > 1 - _TALK:
            yield _talk(lang, split, rng, f"talk {seed} {index}")
        else:
            yield _story(lang, split, rng, ease)
