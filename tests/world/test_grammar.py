"""Whatever the world says, it reads back as what it meant."""

from random import Random

import pytest

from heedful.types import Lang
from heedful.world import grammar, story
from heedful.world.grammar import Fact, reader
from heedful.world.languages import lexicon
from heedful.world.lexicon import KINDS
from heedful.world.reading import read
from heedful.world.tasks import Truth

LANGS: tuple[Lang, ...] = ("en", "zh")


def slots_of(lang: Lang, kind: str, rng: Random) -> dict[str, str]:
    lex = lexicon(lang)
    p, q = rng.sample(list(lex.people), 2)
    people = {"p": p, "q": q}
    return {s: people.get(s) or rng.choice(lex.by_type[s]) for s in KINDS[kind]}


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_wording_of_a_fact_is_read_back_as_that_fact(lang: Lang, kind: str) -> None:
    lex, rng = lexicon(lang), Random(kind)
    openers = {opener for group in lex.openers.values() for opener in group}
    for template in lex.templates[kind]:
        for opener in sorted(openers):
            slots = slots_of(lang, kind, rng)
            clause = grammar.fill(lex, template, slots)
            text = grammar.finish(lex, opener + lex.word_space + clause if opener else clause)
            (sentence,) = reader(lang).read(text)
            (claim,) = sentence.claims
            assert claim.kind == kind
            assert claim.slots == {slot: slots[slot] for slot in claim.slots}, text
            assert sentence.ended


@pytest.mark.parametrize("lang", LANGS)
def test_a_passage_is_read_back_as_the_facts_that_it_tells(lang: Lang) -> None:
    lex = lexicon(lang)
    for index in range(300):
        rng = Random(index)
        tale = story.draw(lang, "train", rng, 7)
        passage = grammar.tell(lex, tale.told, tale.hero, rng)
        known = Truth(lang, tale.hero, tale.told, tale.told[0], "")
        claims = read(known, passage).claims
        assert len(claims) == len(tale.told), passage
        for claim, fact in zip(claims, tale.told, strict=True):
            assert grammar.holds(claim, [fact]), (passage, claim, fact)


@pytest.mark.parametrize("lang", LANGS)
def test_wordings_hold_no_name_beside_their_slots_and_each_says_one_thing(lang: Lang) -> None:
    lex = lexicon(lang)
    meaning: dict[str, str] = {}
    learner = reader(lang)
    for kind, templates in {**lex.templates, **lex.said}.items():
        for template in templates:
            pattern = learner.pattern(template)
            assert meaning.setdefault(pattern, kind) == kind, template
            slots = dict.fromkeys("pqltfavoemd", "")
            bare = grammar.fill(lex, template.replace("{d}", "").replace(":o", ""), slots)
            assert not learner.read(bare) or not learner.read(bare)[0].names, template


def test_a_name_has_one_type() -> None:
    for lang in LANGS:
        names = [name for group in lexicon(lang).by_type.values() for name in group]
        assert len(set(names)) == len(names)


def test_a_claim_with_an_open_slot_holds_if_the_rest_does() -> None:
    fact = Fact("event", {"p": "Mina", "t": "the kite", "e": "the feast"})
    assert grammar.holds(Fact("event", {"t": "the kite", "e": "the feast"}), [fact])
    assert not grammar.holds(Fact("event", {"t": "the boat", "e": "the feast"}), [fact])
    assert not grammar.holds(Fact("where", {"t": "the kite"}), [fact])


def test_text_of_another_world_is_not_understood_but_its_names_are_found() -> None:
    sentences = reader("en").read("Perhaps Mina danced near the mill! Bob")
    assert [sentence.claims for sentence in sentences] == [(), ()]
    assert sentences[0].names == (("p", "Mina"), ("l", "the mill"))
    assert [sentence.ended for sentence in sentences] == [True, False]
