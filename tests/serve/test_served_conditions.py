"""What a request asks of a model that was trained on conditions is asked by its chat template, as in training."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from heedful.data import chat, conditions
from heedful.nn import hub
from heedful.types import Message
from serve import live

MESSAGES = [
    {"role": "user", "content": "the"},
    {"role": "assistant", "content": "cat"},
    {"role": "user", "content": "sat"},
]
SAID = tuple(Message(m["role"], m["content"]) for m in MESSAGES)  # type: ignore[arg-type]


def tokenizer(*, every_turn: bool) -> Any:
    made = copy.deepcopy(live.TOKENIZER)
    chat.ensure_chat_template(made)
    conditions.condition(made, ("mat: ", "end: ", "the end: "), every_turn=every_turn)
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["answers", "every turn"])
def every_turn(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def server(every_turn: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Live]:
    folder = tmp_path_factory.mktemp("conditioned") / "told"
    hub.save_model(folder, tiny.model(live.tiny_config()), tokenizer(every_turn=every_turn))
    with live.serving(model=str(folder)) as found:
        yield found


def asked(server: live.Live, **more: Any) -> tuple[int, ...]:
    body = {"model": "told", "messages": MESSAGES, "max_tokens": 1, "return_token_ids": True, **more}
    return tuple(server.post("chat/completions", body).json()["choices"][0]["prompt_token_ids"])


@pytest.mark.parametrize(("wanted", "number"), [(None, 3), ("end:", 2), ("mat: ", 1), ("2", 2), ("3", 3)])
def test_the_template_asks_for_the_condition_and_by_itself_for_the_best(
    server: live.Live, every_turn: bool, wanted: str | None, number: int
) -> None:
    alone = tokenizer(every_turn=every_turn)
    conditions.ask(alone, number)
    found = asked(server, condition=wanted)
    assert found == chat.render_prompt(alone, SAID)
    marker = conditions.known_to(alone)[number - 1]
    assert alone.decode(found).count(marker) == (4 if every_turn else 2)
    assert "system" not in alone.decode(found).lower()
    assert asked(server) == chat.render_prompt(tokenizer(every_turn=every_turn), SAID)


def test_a_panel_stands_in_the_system_message_and_the_condition_where_it_was_trained(
    server: live.Live, every_turn: bool
) -> None:
    alone = tokenizer(every_turn=every_turn)
    conditions.ask(alone, 1)
    with_panel = chat.render_prompt(alone, (Message("system", "the mat"), *SAID))
    assert asked(server, condition="1", panel="the mat") == with_panel


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("mats:", "this model knows no condition 'mats:'. Did you mean 'mat:'? Known: mat:, end:, the end:."),
        ("4", "there is no condition 4: this model knows 1 (worst) to 3 (best)"),
        ("²", "this model knows no condition '²'. Known: mat:, end:, the end:."),
        ("9" * 4000, "this model knows no condition '9999"),
    ],
)
def test_a_condition_that_it_does_not_know_is_one_sentence(
    server: live.Live, wanted: str, sentence: str
) -> None:
    reply = server.post("chat/completions", {"model": "told", "messages": MESSAGES, "condition": wanted})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(sentence)
    assert reply.json()["error"]["param"] == "condition"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for an old name
def test_an_adapter_that_was_trained_on_conditions_brings_its_template(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need pip install 'heedful[lora]'")
    base = live.save(tmp_path / "base")
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    peft.get_peft_model(hub.load_model(base), config).save_pretrained(str(tmp_path / "told"))
    tokenizer(every_turn=False).save_pretrained(tmp_path / "told")
    with live.serving(model=base, adapters={"told": str(tmp_path / "told")}) as server:
        alone = tokenizer(every_turn=False)
        conditions.ask(alone, 1)
        assert asked(server, condition="1") == chat.render_prompt(alone, SAID)
        plain = asked(server, model="base")
    assert plain == chat.render_prompt(live.TOKENIZER, SAID)
