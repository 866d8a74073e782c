"""Text that is given out token by token is the decoded text, and never holds a stop string."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.data.spelling import BROKEN, Spelling, Writer
from heedful.engine.tokenizer import train_bpe
from heedful.nn import hub

TEXT = "The cat sat on the mat. 猫坐在垫子上。 Ünïcödé 🐈‍⬛ e\u0301\n\n\tx"
TOKENIZER = train_bpe([TEXT] * 4, 300)
IDS = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=40)


def written(ids: list[int], stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    writer = Writer(TOKENIZER, stop)
    parts = []
    for token in ids:
        parts.append(writer.take(token))
        if writer.stopped:
            return parts, True
    return [*parts, writer.rest()], writer.stopped


@given(IDS)
@settings(max_examples=200, deadline=None)
def test_parts_joined_are_the_decoded_text(ids: list[int]) -> None:
    assert "".join(written(ids)[0]) == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_no_part_of_good_text_holds_half_a_character() -> None:
    parts, _ = written(TOKENIZER.encode(TEXT, add_special_tokens=False))
    assert "".join(parts) == TEXT
    assert not any(BROKEN in part for part in parts)
    assert sum(bool(p) for p in parts) > 10, "text that comes at the end only is not streamed"


@given(IDS, st.lists(st.sampled_from(["a", "at", "the", "。", "\n\n", "at on"]), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_text_ends_before_the_first_stop_string(ids: list[int], stop: list[str]) -> None:
    parts, stopped = written(ids, tuple(stop))
    whole = TOKENIZER.decode(ids, skip_special_tokens=True)
    first = min((at for s in stop if (at := whole.find(s)) >= 0), default=None)
    if first is None:
        assert not stopped
        assert "".join(parts) == whole
    else:
        assert stopped
        assert "".join(parts) == whole[:first]


def test_what_may_begin_a_stop_string_waits_until_it_does_not() -> None:
    writer = Writer(TOKENIZER, ("sat on a",))
    ids = TOKENIZER.encode("cat sat on the mat", add_special_tokens=False)
    so_far = ""
    for token in ids:
        so_far += writer.take(token)
        if " the" not in so_far:
            assert "sat on" not in so_far
    assert so_far + writer.rest() == "cat sat on the mat"


def test_bytes_of_tokens_joined_are_the_text() -> None:
    spelling = Spelling(TOKENIZER)
    ids = TOKENIZER.encode(TEXT, add_special_tokens=False)
    assert b"".join(map(spelling.bytes, ids)) == TEXT.encode()
    names = [spelling.text(t) for t in range(len(TOKENIZER))]
    assert len(set(names)) == len(names), "two tokens with one name would be one key of a response"


@pytest.mark.shared
def test_a_sentencepiece_models_tokens_are_text_too(shared: Path) -> None:
    tokenizer = hub.load_tokenizer(shared / "models" / "stories260K")
    text = "Once upon a time, Zoë saw a 猫."
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(map(Spelling(tokenizer).bytes, ids)).decode().strip() == text
    writer = Writer(tokenizer)
    assert "".join([*map(writer.take, ids), writer.rest()]) == tokenizer.decode(ids)
