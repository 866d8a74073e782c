"""Each format that people have becomes the same records; what cannot be used is counted, never hidden."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data.files import write_jsonl
from heedful.data.formats import (
    read_conversations,
    read_preferences,
    read_prompts,
    read_texts,
    write_preferences,
)
from heedful.data.messages import prompt_id
from heedful.errors import UserError
from heedful.types import Message, Preference

ASK, ANSWER, WORSE = Message("user", "Who?"), Message("assistant", "Ada."), Message("assistant", "Bob.")
SYSTEM = Message("system", "Be brief.")
HUMAN = {"from": "human", "value": "Who?"}
GPT = {"from": "gpt", "value": "Ada."}
OPENAI = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


ONE_ANSWER: list[dict[str, Any]] = [
    {"messages": OPENAI},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}, OPENAI[1]]},
    {"messages": [*OPENAI, {"role": "user", "content": "And when?"}]},
    {"messages": OPENAI, "label": True},
    {"conversations": [HUMAN, GPT], "id": ""},
    {"prompt": "Who?", "completion": "Ada."},
    {"prompt": OPENAI[:1], "completion": OPENAI[1:]},
    {"prompt": "Who?", "completion": "Ada.", "label": "true"},
    {"instruction": "Who?", "input": "", "output": "Ada."},
    {"instruction": "Who?", "input": None, "output": "Ada.", "history": []},
    {"instruction": "Who?", "output": ["Ada.", "Bob."]},
    {"question": "Who?", "answer": "Ada."},
    {"prompt": "Who?", "chosen": "Ada.", "rejected": "Bob."},
]


@pytest.mark.parametrize("row", ONE_ANSWER, ids=lambda row: "+".join(row))
def test_every_format_gives_the_same_conversation(path: Path, row: dict[str, Any]) -> None:
    write_jsonl(path, [row])
    (conversation,) = read_conversations(path)
    assert conversation.messages == (ASK, ANSWER)
    assert (conversation.id, conversation.weight) == (prompt_id((ASK, ANSWER)), 1.0)


PAIRS: list[dict[str, Any]] = [
    {"prompt": "Who?", "chosen": "Ada.", "rejected": "Bob."},
    {"prompt": OPENAI[:1], "chosen": OPENAI[1:], "rejected": [{"role": "assistant", "content": "Bob."}]},
    {"chosen": OPENAI, "rejected": [OPENAI[0], {"role": "assistant", "content": "Bob."}]},
    {"prompt": "Who?", "chosen": OPENAI, "rejected": [OPENAI[0], {"role": "assistant", "content": "Bob."}]},
    {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "Bob."}},
    {"chosen": "\n\nHuman: Who?\n\nAssistant: Ada.", "rejected": "\n\nHuman: Who?\n\nAssistant: Bob."},
    {"prompt": "\n\nHuman: Who?\n\nAssistant:", "chosen": "Ada.", "rejected": "Bob."},
    {"instruction": "Who?", "input": "", "output": ["Ada.", "Bob."], "history": []},
]


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: "+".join(row))
def test_every_format_gives_the_same_preference_and_prompt(path: Path, row: dict[str, Any]) -> None:
    write_jsonl(path, [row])
    (preference,) = read_preferences(path)
    assert (preference.messages, preference.chosen, preference.rejected) == ((ASK,), "Ada.", "Bob.")
    assert preference.strength == 1.0
    (prompt,) = read_prompts(path)
    assert (prompt.id, prompt.messages) == (prompt_id(preference.messages), (ASK,))


def test_several_turns_and_system_messages_are_kept(path: Path) -> None:
    turns = [{"from": "system", "value": "Be brief."}, HUMAN, GPT, {"from": "human", "value": "When?"}]
    dialogue = (SYSTEM, ASK, ANSWER, Message("user", "When?"))
    write_jsonl(path, [{"conversations": turns, "chosen": GPT, "rejected": {"from": "gpt", "value": "May."}}])
    assert read_preferences(path)[0].messages == dialogue
    assert read_prompts(path)[0].messages == dialogue
    row = {"instruction": "When?", "system": "Be brief.", "history": [["Who?", "Ada."]], "output": "May."}
    write_jsonl(path, [row])
    assert read_conversations(path)[0].messages == (*dialogue, Message("assistant", "May."))


def test_a_transcript_is_split_at_its_last_reply(path: Path) -> None:
    start = "\n\nHuman: Who?\n\nAssistant: Ada.\n\nHuman: Say it:\n\nHuman is a word.\n\nAssistant: "
    write_jsonl(path, [{"chosen": start + "One\n\ntwo.", "rejected": start + "No."}])
    (preference,) = read_preferences(path)
    assert preference.messages == (ASK, ANSWER, Message("user", "Say it:\n\nHuman is a word."))
    assert (preference.chosen, preference.rejected) == ("One\n\ntwo.", "No.")


def test_rows_that_teach_nothing_are_counted_by_reason(path: Path) -> None:
    def turns(*parts: str) -> str:
        return "".join(f"\n\n{'Assistant' if n % 2 else 'Human'}: {part}" for n, part in enumerate(parts))

    rows = [
        {"chosen": turns("a", "b"), "rejected": turns("a", "c")},
        {"chosen": turns("a", "b"), "rejected": turns("x", "c")},
        {"chosen": turns("a", "b"), "rejected": turns("a", "b")},
        {"chosen": turns("a", ""), "rejected": turns("a", "b")},
        {"chosen": turns("a", "b", "c"), "rejected": turns("a", "b", "d")},
        {"chosen": turns("a", "b") + "\n\nAssistant: c", "rejected": turns("a", "b") + "\n\nAssistant: d"},
        {"chosen": turns("a") + turns("b", "c"), "rejected": turns("a") + turns("b", "d")},
        {"chosen": turns("a", "b"), "rejected": turns("a", "c"), "strength": 0},
    ]
    write_jsonl(path, rows)
    skipped: Counter[str] = Counter()
    assert len(read_preferences(path, skipped=skipped)) == 1
    assert skipped == {
        "the two dialogues differ before their last reply": 1,
        "equal or empty answers": 2,
        "no answer at the end": 1,
        "the prompt does not end with the user's turn": 1,
        "user and assistant do not take turns": 1,
        "a tie": 1,
    }


def test_an_answer_that_brings_another_prompt_and_a_blank_question_are_counted(path: Path) -> None:
    other = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "May."}]
    write_jsonl(
        path,
        [
            {"prompt": "Who?", "chosen": OPENAI, "rejected": "Bob."},
            {"prompt": "Who?", "chosen": other, "rejected": "Bob."},
            {"prompt": " \n", "chosen": "Ada.", "rejected": "Bob."},
        ],
    )
    skipped: Counter[str] = Counter()
    assert len(read_preferences(path, skipped=skipped)) == 1
    assert skipped == {"the answer does not continue the prompt": 1, "empty user message": 1}


@pytest.mark.parametrize("text", ["See:\n\nHuman: Who?\n\nAssistant: Ada.", "Human: Who?", "Assistant: Ada."])
def test_text_that_only_mentions_speakers_is_no_transcript(path: Path, text: str) -> None:
    write_jsonl(path, [{"prompt": text}])
    assert read_prompts(path)[0].messages == (Message("user", text),)


def test_answers_marked_as_bad_are_not_learnt_from(path: Path) -> None:
    row = {"prompt": "Who?", "completion": "Ada."}
    write_jsonl(path, [{**row, "label": True}, {**row, "label": False}, {**row, "label": "a topic"}])
    skipped: Counter[str] = Counter()
    assert len(read_conversations(path, skipped=skipped)) == 2
    assert skipped == {"labelled as a bad answer": 1}
    assert len(read_prompts(path)) == 1


def test_a_ranking_of_k_answers_gives_all_its_pairs_in_order(path: Path) -> None:
    write_jsonl(path, [{"instruction": "Who?", "output": ["a", "b", "c", "d"]}])
    found = [(p.chosen, p.rejected) for p in read_preferences(path)]
    assert found == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert len({p.id for p in read_preferences(path)}) == 6


def test_prompts_are_given_once_with_what_rewards_need(path: Path) -> None:
    rows = [
        {"question": "1 + 1?", "answer": "2", "level": 3, "task": "sums"},
        {"question": "1 + 1?", "answer": "two"},
        {"question": "1 + 2?", "answer": "3"},
    ]
    write_jsonl(path, rows)
    skipped: Counter[str] = Counter()
    first, second = read_prompts(path, skipped=skipped)
    assert (first.columns, first.task) == ({"answer": "2", "level": 3}, "sums")
    assert (second.columns, second.task) == ({"answer": "3"}, "")
    assert skipped == {"repeated prompt": 1}


def test_prompt_ids_are_stable() -> None:
    assert prompt_id((SYSTEM, ASK)) == "20b3f1ef9bdacea0c1b1"
    assert prompt_id((ASK,)) != prompt_id((Message("system", "Who?"),))
    assert prompt_id((Message("user", "a"), Message("assistant", "b"))) != prompt_id((Message("user", "ab"),))


def test_lines_of_a_text_file_are_prompts_and_the_whole_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("One day,\n\n  a fox\n")
    assert [p.messages[0].content for p in read_prompts(path)] == ["One day,", "  a fox"]
    assert read_texts(path) == ["One day,\n\n  a fox"]
    path.write_text("One\nstory\n<|endoftext|>\n<|endoftext|>\nAnother\n<|endoftext|>\n")
    skipped: Counter[str] = Counter()
    assert read_texts(path, skipped=skipped) == ["One\nstory", "Another"]
    assert skipped == {"empty text": 1}


def test_texts_of_records(path: Path) -> None:
    write_jsonl(path, [{"text": "One\n"}, {"text": "二", "n": 1}])
    assert read_texts(path) == ["One\n", "二"]


def test_a_limit_stops_the_reading(path: Path) -> None:
    path.write_text('{"text": "one"}\n{"text": "two"}\nbroken\n')
    assert read_texts(path, limit=2) == ["one", "two"]
    with pytest.raises(UserError, match="line 3"):
        read_texts(path, limit=3)
    write_jsonl(path, [{"instruction": "Who?", "output": ["a", "b", "c"]}])
    assert len(read_preferences(path, limit=2)) == 2


def test_ids_weights_and_sources_are_taken_over(path: Path) -> None:
    write_jsonl(path, [{"messages": OPENAI, "id": "c7", "weight": 0.5, "source": "Ada"}])
    (conversation,) = read_conversations(path)
    assert (conversation.id, conversation.weight, conversation.source) == ("c7", 0.5, "Ada")


def test_csv_has_the_same_formats(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,chosen,rejected,strength\nWho?,"Ada.","Bob.",2.5\nWhen?,May.,June.,\n')
    assert [p.strength for p in read_preferences(path)] == [2.5, 1.0]
    path.write_text("prompt,completion,label\nWho?,Ada.,True\nWho?,Bob.,False\n")
    assert [c.messages for c in read_conversations(path)] == [(ASK, ANSWER)]


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    str.strip
)
preferences = st.builds(
    Preference,
    messages=st.lists(words, min_size=1, max_size=5).map(
        lambda texts: tuple(
            Message("assistant" if n % 2 else "user", text)
            for n, text in enumerate(texts[: len(texts) - 1 + len(texts) % 2])
        )
    ),
    chosen=words.map("good ".__add__),
    rejected=words.map("bad ".__add__),
    strength=st.floats(0.125, 3),
    id=words,
    source=words,
)


@given(written=st.lists(preferences, min_size=1, max_size=4))
def test_written_preferences_are_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, written: list[Preference]
) -> None:
    path = tmp_path_factory.mktemp("preferences") / "a.jsonl"
    assert write_preferences(path, written) == len(written)
    assert read_preferences(path) == written


def test_written_preferences_are_in_trls_form(path: Path) -> None:
    write_preferences(path, [Preference((ASK,), "Ada.", "Bob.")])
    row = json.loads(path.read_text())
    assert (row["prompt"], row["chosen"], row["rejected"]) == (
        [{"role": "user", "content": "Who?"}],
        [{"role": "assistant", "content": "Ada."}],
        [{"role": "assistant", "content": "Bob."}],
    )
