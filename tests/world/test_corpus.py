"""The corpus: true, easy before full, and within the demo's lengths."""

from random import Random
from statistics import mean

import pytest

from heedful.types import Lang
from heedful.world import MODES, World, demonstrate
from heedful.world.demonstrators import pick
from heedful.world.languages import lexicon

LANGS: tuple[Lang, ...] = ("en", "zh")


@pytest.mark.parametrize("lang", LANGS)
def test_easy_documents_come_first_and_all_differ(lang: Lang) -> None:
    texts = list(World(0, lang).corpus(800))
    assert mean(map(len, texts[:80])) < 0.7 * mean(map(len, texts[-400:]))
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("lang", LANGS)
def test_heldout_documents_are_full_and_not_those_of_training(lang: Lang) -> None:
    held = list(World(0, lang).heldout(100))
    assert not set(held) & set(World(0, lang).corpus(400))
    assert mean(map(len, held)) > 0.8 * mean(map(len, list(World(0, lang).corpus(800))[-400:]))


def test_demonstrators_follow_their_shares() -> None:
    rng = Random(0)
    for task, modes in MODES.items():
        assert sum(share for share, _ in modes.values()) == pytest.approx(1.0)
        drawn = [pick(task, rng) for _ in range(4000)]
        for name, (share, _) in modes.items():
            assert drawn.count(name) / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("lang", LANGS)
def test_answers_are_short(lang: Lang) -> None:
    for prompt in World(0, lang).prompts(400):
        for name in MODES[prompt.task]:
            answer = demonstrate(prompt, 0, name).text
            assert lexicon(lang).length(answer) <= 40, answer
