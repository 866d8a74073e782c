"""Held-out combinations, and the same seed gives the same world."""

from itertools import product
from random import Random

import pytest

from heedful.errors import UserError
from heedful.types import Conversation, Lang
from heedful.world import TASKS, World
from heedful.world import story as stories
from heedful.world.grammar import reader
from heedful.world.languages import lexicon
from heedful.world.story import held_out

LANGS: tuple[Lang, ...] = ("en", "zh")


def combinations(lang: Lang, text: str) -> set[tuple[str, str]]:
    """The (person, place), (person, thing) and (goal, place) pairs that meet in a text."""
    found: dict[str, set[str]] = {kind: set() for kind in "pltfavoem"}
    for sentence in reader(lang).read(text):
        for kind, name in sentence.names:
            found[kind].add(name)
    people = found["p"] & set(lexicon(lang).people)
    return set(product(people, found["l"] | found["t"])) | set(product(found["v"], found["l"]))


def text_of(dialogue: Conversation) -> str:
    return "\n".join(message.content for message in dialogue.messages)


@pytest.mark.parametrize("lang", LANGS)
def test_held_out_combinations_never_meet_in_what_is_trained_on(lang: Lang) -> None:
    world = World(3, lang)
    texts = [*world.corpus(600), *map(text_of, world.demonstrations(600))]
    texts += [message.content for prompt in world.prompts(600) for message in prompt.messages]
    for text in texts:
        assert not [pair for pair in combinations(lang, text) if held_out(*pair)], text


@pytest.mark.parametrize("lang", LANGS)
def test_test_stories_rest_on_combinations_that_training_never_saw(lang: Lang) -> None:
    for index in range(200):
        tale = stories.draw(lang, "test", Random(index), 99)
        place = next(fact.slots["l"] for fact in tale.facts if fact.kind == "where")
        assert held_out(tale.hero, place)
        assert held_out(tale.hero, tale.goal["t"])
        assert held_out(tale.goal["v"], place)


def test_every_name_is_met_in_training() -> None:
    for lang in LANGS:
        seen = {
            name
            for text in World(0, lang).corpus(1500)
            for pair in reader(lang).read(text)
            for name in pair.names
        }
        for kind, names in lexicon(lang).by_type.items():
            assert {(kind, name) for name in names} <= seen


@pytest.mark.parametrize("lang", LANGS)
def test_the_same_seed_gives_the_same_world_and_another_seed_another(lang: Lang) -> None:
    one, same, other = World(1, lang), World(1, lang), World(2, lang)
    assert list(one.corpus(20)) == list(same.corpus(20)) != list(other.corpus(20))
    assert one.prompts(20, 5) == same.prompts(20, 5) != one.prompts(20, 6)
    assert one.demonstrations(20) == same.demonstrations(20)
    assert not {p.id for p in one.prompts(50, 5)} & {p.id for p in one.prompts(50, 6)}


@pytest.mark.parametrize("lang", LANGS)
def test_the_world_has_thousands_of_surface_forms(lang: Lang) -> None:
    prompts = World(0, lang).prompts(3000, tasks=["question", "write"])
    forms = set()
    for prompt in prompts:
        text = prompt.messages[0].content
        for sentence in reversed(reader(lang).read(text)):
            for _, name in sentence.names:
                text = text.replace(name, "_")
        forms.add(text)
    assert len(forms) > 1200
    assert len({prompt.messages[0].content for prompt in prompts}) > 2950


def test_tasks_take_turns_and_an_unknown_one_is_named() -> None:
    assert [prompt.task for prompt in World().prompts(10)] == [*TASKS, *TASKS]
    with pytest.raises(UserError, match="Did you mean 'question'"):
        World().prompts(1, tasks=["questions"])
    with pytest.raises(UserError, match="speaks 'en' and 'zh'"):
        World(0, "fr")  # type: ignore[arg-type]
