"""A conditioned chat template asks for a quality, whoever renders it; training and sampling ask in the same words."""

from typing import Any

import pytest

from data.test_chat import CHATML, tokenizer_with
from heedful.data import chat, conditions
from heedful.errors import UserError
from heedful.types import Message

DIALOGUE = [
    Message("user", "Who?"),
    Message("assistant", "Ada."),
    Message("user", "Ada?"),
    Message("assistant", "Yes."),
]
TEMPLATES = {"chatml": CHATML, "plain": None}


def conditioned(template: str | None, *, every_turn: bool = False) -> Any:
    tokenizer = tokenizer_with("</s>", template=template)
    chat.ensure_chat_template(tokenizer)
    conditions.condition(tokenizer, ("bad: ", "middling: ", "good: "), every_turn=every_turn)
    return tokenizer


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("every_turn", [False, True])
def test_what_is_trained_begins_with_what_is_sampled_from(template: str | None, every_turn: bool) -> None:
    tokenizer = conditioned(template, every_turn=every_turn)
    whole = chat.render(tokenizer, DIALOGUE)
    prompt = chat.render_prompt(tokenizer, DIALOGUE[:3])
    assert whole.ids == prompt + chat.answer_ids(tokenizer, "Yes.")
    shown = "".join(text for text, _ in chat.pieces(tokenizer, whole))
    assert shown.count("good: ") == (4 if every_turn else 2)
    trained = "".join(text for text, on in chat.pieces(tokenizer, whole) if on)
    assert trained == "Ada.</s>Yes.</s>"


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_another_program_asks_for_the_best_or_what_it_is_told(template: str | None) -> None:
    tokenizer = conditioned(template)
    messages = [{"role": "user", "content": "Who?"}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered.endswith("good: ")
    other = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, condition="middling: "
    )
    assert other == rendered.removesuffix("good: ") + "middling: "
    conditions.ask(tokenizer, 2)
    ids = chat.render_prompt(tokenizer, [Message("user", "Who?")])
    assert tokenizer.decode(ids) == other


def test_asking_again_replaces_what_was_asked_and_the_template_inside_stays_whole() -> None:
    tokenizer = conditioned(CHATML)
    before = tokenizer.chat_template
    for wanted in (1, "middling:", "good"):
        if wanted == "good":
            with pytest.raises(UserError, match="Did you mean 'good:'"):
                conditions.ask(tokenizer, wanted)
            continue
        conditions.ask(tokenizer, wanted)
    assert tokenizer.decode(chat.render_prompt(tokenizer, DIALOGUE[:1])).endswith("middling: ")
    conditions.unasked(tokenizer)
    assert tokenizer.chat_template == before
    assert conditions.plain(before) == CHATML
    conditions.condition(tokenizer, ("1", "2"))
    assert conditions.known_to(tokenizer) == ("1", "2")
    assert conditions.plain(tokenizer.chat_template) == CHATML


def test_what_cannot_be_asked_is_one_sentence() -> None:
    tokenizer = conditioned(CHATML)
    with pytest.raises(UserError, match=r"knows 1 \(worst\) to 3 \(best\)"):
        conditions.ask(tokenizer, 4)
    with pytest.raises(UserError, match="not trained on conditions"):
        conditions.ask(tokenizer_with("</s>", template=CHATML), 1)
    with pytest.raises(UserError, match="must differ"):
        conditions.condition(tokenizer, ("a", "a"))
