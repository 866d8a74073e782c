"""Simulated people: repeatable, of mixed care, and agreeing about as often as InstructGPT's did."""

from itertools import combinations
from statistics import mean

import pytest

from heedful.types import Answer, Lang, Prompt
from heedful.world import World, annotators, demonstrate, grade

LANGS: tuple[Lang, ...] = ("en", "zh")
Pair = tuple[Prompt, Answer, Answer]


def pairs(lang: Lang, n: int) -> list[Pair]:
    """Pairs from the demonstrators' mix that the gold judge tells apart."""
    found = [(p, demonstrate(p, 1), demonstrate(p, 2)) for p in World(0, lang).prompts(n, 3)]
    return [(p, a, b) for p, a, b in found if grade(p, a.text).total != grade(p, b.text).total]


@pytest.mark.parametrize("lang", LANGS)
def test_two_careful_people_agree_on_about_73_percent_of_comparisons(lang: Lang) -> None:
    people = [person for person in annotators(8, 0, lang) if not person.careless]
    same = []
    for prompt, a, b in pairs(lang, 300):
        chosen = [person.compare(prompt, a, b).preference for person in people]
        same += [(x > 0) == (y > 0) for x, y in combinations(chosen, 2) if x and y]
    assert mean(same) == pytest.approx(0.73, abs=0.025)


@pytest.mark.parametrize("lang", LANGS)
def test_clear_gold_items_tell_the_careless_from_the_careful(lang: Lang) -> None:
    clear = [
        (p, a, b)
        for p, a, b in pairs(lang, 400)
        if abs(grade(p, a.text).total - grade(p, b.text).total) > 0.5
    ][:60]
    people = annotators(20, 1, lang)
    assert 1 <= sum(person.careless for person in people) <= 6
    for person in people:
        right = [
            (person.compare(p, a, b).preference > 0) == (grade(p, a.text).total > grade(p, b.text).total)
            for p, a, b in clear
        ]
        assert (mean(right) < 0.75) == person.careless


def test_a_judgement_does_not_depend_on_what_else_was_asked() -> None:
    prompt, a, b = pairs("en", 30)[0]
    person, twin = annotators(5, 4)[0], annotators(5, 4)[0]
    first = person.rate(prompt, a), person.compare(prompt, a, b), person.rank(prompt, [a, b])
    again = twin.rank(prompt, [b, a]), twin.compare(prompt, a, b), twin.rate(prompt, a)
    assert (first[0], first[1], first[2]) == (again[2], again[1], again[0])
    assert person.rate(prompt, a).score in range(1, 8)


def test_ratings_rankings_and_comparisons_of_one_person_tell_one_story() -> None:
    person = annotators(5, 4)[1]
    for prompt, a, b in pairs("en", 80):
        strength = person.compare(prompt, a, b).preference
        assert person.compare(prompt, b, a).preference == -strength
        order = person.rank(prompt, [a, b]).order
        if strength:
            better, worse = (a, b) if strength > 0 else (b, a)
            assert order == ((better.id,), (worse.id,))
            assert person.rate(prompt, better).score >= person.rate(prompt, worse).score
        else:
            assert len(order) == 1


def test_the_criterion_is_heeded() -> None:
    person = next(p for p in annotators(9, 2) if not p.careless)
    prompts = World().prompts(120, 9, tasks=["unanswerable"])
    lies = [demonstrate(p, 0, "invented") for p in prompts]
    honest = mean(person.rate(p, a, "honest").score for p, a in zip(prompts, lies, strict=True))
    harmless = mean(person.rate(p, a, "harmless").score for p, a in zip(prompts, lies, strict=True))
    assert honest < 2.5 < 5.5 < harmless


def test_people_differ_in_what_they_like() -> None:
    people = annotators(30, 0)
    assert len({person.longer for person in people}) == len({person.noise for person in people}) == 30
    assert min(person.longer for person in people) < 0 < max(person.longer for person in people)
