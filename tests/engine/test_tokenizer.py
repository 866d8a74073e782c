"""The byte-level tokenizer: every text comes back, and given words stay whole."""

from hypothesis import given, settings
from hypothesis import strategies as st

from heedful import World, train_bpe

TEXTS = list(World(0, "zh").corpus(300))
NAMES = World(0, "zh").names
WHOLE = train_bpe(TEXTS, 1280, words=NAMES)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(text: str) -> None:
    assert WHOLE.decode(WHOLE(text, add_special_tokens=False)["input_ids"]) == text


def test_names_stay_whole_where_there_are_no_spaces() -> None:
    seen = [n for n in NAMES if sum(n in text for text in TEXTS) > 10]
    assert len(seen) > 30
    sentence = "".join(seen[:20])
    assert len(WHOLE(sentence, add_special_tokens=False)["input_ids"]) == 20
