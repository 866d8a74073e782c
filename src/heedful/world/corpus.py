"""Plain text to pretrain on: many short documents that say the same names again and again.

A small model learns to copy a name from far back only after it has learnt to go on with what was said
before. So the corpus begins with lists said twice, goes on with short stories told twice, and ends with
full stories, retold and asked about.
"""

from collections.abc import Iterator
from random import Random

from heedful.types import Lang
from heedful.world import grammar, questions, story
from heedful.world.languages import lexicon
from heedful.world.lexicon import Lexicon
from heedful.world.story import Split, Story, meet_in_test


def _answer(tale: Story, question: questions.Question) -> str:
    lex = lexicon(tale.lang)
    if question.told:
        return grammar.finish(lex, grammar.say(lex, question.fact))
    unsaid = grammar.fill(lex, lex.unsaid[question.kind], {**tale.goal, **question.fact.slots})
    return grammar.finish(lex, lex.wordings["abstain"][0] + unsaid)


def _quiz(tale: Story, rng: Random, most: int, unsaid: float = 0.12) -> list[str]:
    asked = [q for q in questions.ask(tale, rng) if q.told or rng.random() < unsaid]
    return [f"{question.text}\n{_answer(tale, question)}" for question in asked[:most]]


def _list(lex: Lexicon, rng: Random) -> str:
    """Names in a random order, said two or three times."""
    names: list[str] = []
    size = rng.randint(4, 10)
    while len(names) < size:
        name = rng.choice(lex.by_type[rng.choice("pppllttfavoem")])
        if not any(meet_in_test(lex, name, other) for other in names):
            names.append(name)
    line = grammar.finish(lex, lex.wordings["and"][0].join(names))
    return "\n".join([line] * rng.choice((2, 3)))


def _story(lang: Lang, split: Split, rng: Random, ease: float) -> str:
    lex = lexicon(lang)
    easy = rng.random() < ease
    tale = story.draw(lang, split, rng, rng.randint(2, 3) if easy else rng.randint(4, 7))
    parts = [grammar.tell(lex, tale.told, tale.hero, rng)]
    if rng.random() < ease:
        parts.append(parts[0])
    elif rng.random() < 0.2:
        again = [grammar.finish(lex, grammar.say(lex, fact, rng)) for fact in tale.told]
        parts.append(lex.space.join(rng.sample(again, len(again))))
    return "\n".join(parts + _quiz(tale, rng, 10))


def corpus(lang: Lang, seed: int, documents: int, split: Split = "train", easy: float = 0.3) -> Iterator[str]:
    """Documents in the order to learn from: over the first share `easy`, short ones give way to full ones."""
    for index in range(documents):
        rng = Random(f"corpus {lang} {split} {seed} {index}")
        ease = max(0.0, 1.0 - index / (easy * documents)) if easy else 0.0
        yield _list(lexicon(lang), rng) if rng.random() < ease * 0.8 else _story(lang, split, rng, ease)
