"""Passages held to their panels: what stands is kept, what speaks against the panel is drawn again or left out."""

from collections.abc import Sequence
from typing import Any

import pytest

from engine.panel_kit import author, policy
from heedful.engine.panel_author import Author
from heedful.engine.panel_prose import cut, held, without
from heedful.engine.panel_story import held_update
from heedful.panels import desk, requests, text
from heedful.panels.consistency import marks
from heedful.panels.desk import Ask

PANEL = text.parse("person Mina: in the mill\nthing the kite: in the barn\nplan see Mina")
ASK = Ask("write", requests.write(PANEL))
HOW: dict[str, Any] = {"temperature": 0.0, "max_completion_length": 40, "seed": (0,)}


class Guesses(Author):
    """An author in this process whose answers follow a list of places, one a sentence that is drawn."""

    def answer(self, asks: Sequence[Ask], **how: Any) -> list[tuple[str, ...]]:
        self.spent["turns"] += 1
        return [
            tuple(f"{ask.begun}{self._rest(ask.begun, how['temperature'], j)}" for j in range(ask.n))
            for ask in asks
        ]

    def _rest(self, begun: str, temperature: float, number: int) -> str:
        right = temperature > 0 and number == 2 and self.spent["turns"] > 2
        kite = f"The kite was in the {'barn' if right else 'cellar'}."
        return kite if "Mina" in begun else f"Mina was in the {'mill' if temperature else 'attic'}. {kite}"


def guesses() -> Guesses:
    return Guesses(policy(), len, None, explained=False, constrained="")


def test_a_sentence_is_drawn_again_and_what_stands_before_it_stays() -> None:
    assert held(guesses(), [ASK], [PANEL], drafts=1, **HOW) == [
        "Mina was in the attic. The kite was in the cellar."
    ]
    assert held(guesses(), [ASK], [PANEL], drafts=9, **HOW) == [
        "Mina was in the mill. The kite was in the barn."
    ]
    assert held(guesses(), [ASK], [PANEL], drafts=2, **HOW) == [
        "Mina was in the mill."
    ]  # the other one is left out


def test_of_a_servers_drafts_the_best_is_kept_and_its_faults_are_left_out() -> None:
    drafts = [
        "Mina was in the barn. The kite was in the attic.",
        "Mina was in the mill. The kite was in the attic.",
    ]
    who = author(lambda prompt, seed, number: drafts["again" in seed])
    assert held(who, [ASK], [PANEL], drafts=2, **HOW) == ["Mina was in the mill."]
    assert held(who, [ASK], [PANEL], drafts=1, **HOW) == [drafts[0]]


def test_of_a_passage_that_is_wrong_throughout_one_sentence_stays() -> None:
    wrong = "Mina was in the barn. The kite was in the attic."
    assert without(PANEL, wrong) == "The kite was in the attic."
    (first, _) = marks(PANEL, wrong)
    assert cut(wrong, first) == "The kite was in the attic."
    assert cut(
        "The goat came. Mina was in the barn. It rained.",
        marks(PANEL, "The goat came. Mina was in the barn.")[0],
    ) == ("The goat came. It rained.")


@pytest.mark.parametrize("drafts", [1, 3])
def test_a_models_passages_are_held_to_the_end(drafts: int) -> None:
    who = Author(policy(), len, None, explained=False, constrained="")
    assert len(held(who, [ASK, ASK], [PANEL, PANEL], drafts=drafts, **HOW)) == 2


def test_an_update_is_held_to_its_passage() -> None:
    on = desk.choose(desk.begin("-", PANEL.without("plan")), ["Mina goes to the barn"])
    told = "Mina went to the barn."
    assert held_update(on, told, "person Mina: in the attic\nstyle rich") == (
        "person Mina: in the attic\nstyle rich\nperson Mina: in the barn"
    )
    assert held_update(on, told, "person Mina: in the barn") == "person Mina: in the barn"
    after = desk.written(on, told, held_update(on, told, "person Mina: in the attic")).panel
    assert text.render(after.without("plan")) == "person Mina: in the barn\nthing the kite: in the barn"
