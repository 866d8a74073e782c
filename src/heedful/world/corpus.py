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

_LISTS = 0.25  # share of the documents that are lists
_EASY = 0.6  # share over which short stories give way to full ones
_UNSAID = 0.6  # share of the stories that are asked about something that they do not tell


def _answer(tale: Story, question: questions.Question) -> str:
    lex = lexicon(tale.lang)
    if question.told:
        return grammar.finish(lex, grammar.say(lex, question.fact))
    unsaid = grammar.fill(lex, lex.unsaid[question.kind], {**tale.goal, **question.fact.slots})
    return grammar.finish(lex, lex.wordings["abstain"][0] + unsaid)


def _quiz(tale: Story, rng: Random) -> list[str]:
    """All that was told, asked and answered, and at times something that was not."""
    asked = questions.ask(tale, rng)
    open_ = [question for question in asked if not question.told][: rng.random() < _UNSAID]
    asked = [question for question in asked if question.told or question in open_]
    return [f"{question.text}\n{_answer(tale, question)}" for question in asked]


def _list(lex: Lexicon, rng: Random) -> str:
    """Names in a random order, said over and over: here what follows a name is what followed it before."""
    names: list[str] = []
    while len(names) < 12:
        name = rng.choice(lex.by_type[rng.choice("pppllttfavoem")])
        if name not in names and not any(meet_in_test(lex, name, other) for other in names):
            names.append(name)
    return lex.word_space.join([lex.bare_name(name) for name in names] * 4)


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
    return "\n".join(parts + _quiz(tale, rng))


def corpus(lang: Lang, seed: int, documents: int, split: Split = "train") -> Iterator[str]:
    """Documents in the order to learn from."""
    lists, easy = (_LISTS * documents, _EASY * documents) if split == "train" else (0.0, 0.0)
    for index in range(documents):
        rng = Random(f"corpus {lang} {split} {seed} {index}")
        ease = max(0.0, 1.0 - (index - lists) / easy) if easy else 0.0
        if index < lists or rng.random() < 0.25 * ease:
            yield _list(lexicon(lang), rng)
        else:
            yield _story(lang, split, rng, ease)
