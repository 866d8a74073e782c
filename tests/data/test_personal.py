"""Personal data is masked, and what only looks like it stays."""

import pytest

from heedful.data.personal import PATTERNS, chosen, masked
from heedful.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ada.l+x@mail.example.org.", "write to [email]."),
        ("a@b.co、张三@x.cn", "[email]、[email]"),
        ("call +49 (170) 123-4567 now", "call [phone] now"),
        ("手机13812345678。", "手机[phone]。"),
        ("555-867-5309", "[phone]"),
        ("身份证11010519491231002X", "身份证[id]"),
        ("ssn 078-05-1120", "ssn [id]"),
        ("card 4111 1111 1111 1111!", "card [id]!"),
        ("in 1984, 12 of 3,000", "in 1984, 12 of 3,000"),
        ("on 2026-11-25 at 10:30", "on 2026-11-25 at 10:30"),
        ("pi is 3.14159, x@y, 10 000 km", "pi is 3.14159, x@y, 10 000 km"),
        ("", ""),
    ],
)
def test_masked(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(masked(text)) == expected


def test_patterns_are_chosen_and_added() -> None:
    text = "a@b.co, 13812345678, badge K-1234"
    assert masked(text, {"email": PATTERNS["email"]}) == "[email], 13812345678, badge K-1234"
    assert masked(text, {**PATTERNS, "badge": r"K-\d{4}"}) == "[email], [phone], badge [badge]"
    assert masked(text, {}) == text


def test_patterns_by_what_a_person_wrote() -> None:
    assert chosen([]) == dict(PATTERNS)
    assert chosen(["none"]) == {}
    assert chosen(["email", r"badge=K-\d{4}"]) == {"email": PATTERNS["email"], "badge": r"K-\d{4}"}
    with pytest.raises(UserError, match="no kind of personal data"):
        chosen(["mail"])
    with pytest.raises(UserError, match="no regular expression"):
        chosen(["x=("])
