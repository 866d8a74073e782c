"""An answer in pieces is the answer."""

import pytest

from engine.panel_kit import STEPS, policy
from heedful.engine import piecewise
from heedful.engine.policy import Policy
from heedful.engine.sampler import shown
from heedful.engine.sampling import Sampling
from heedful.panels import requests
from heedful.types import Prompt


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pieces_joined_are_the_first_answer(temperature: float, number: int) -> None:
    who, how = policy(), Sampling(40, temperature, top_p=0.9)
    asked = Prompt(str(number), requests.write(STEPS[number].before))
    found = list(piecewise.pieces(who, asked, how, seed=(3, number)))
    assert sum(map(bool, found)) > 5
    (answered,) = who.answer([asked], how, seed=(3, number))
    assert shown("".join(found), how) == answered.texts[0]


def test_an_answer_of_another_sampler_comes_whole() -> None:
    who, how = policy(), Sampling(8)
    asked = Prompt("0", requests.write(STEPS[0].before))
    foreign = Policy(who.model, who.tokenizer, sampler=policy())
    assert list(piecewise.pieces(foreign, asked, how, seed=(1,))) == list(
        who.answer([asked], how, seed=(1,))[0].texts
    )
