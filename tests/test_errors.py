"""What a server's refusal is shown as."""

import pytest

from heedful.errors import said


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (b'{"error": {"message": "too\\nlong"}}', "too long"),
        ('{"error": "busy"}', '{"error": "busy"}'),
        (b"try \x1b[31mlater\xff", "try  [31mlater\ufffd"),
        (b" <html>502</html>", ""),
        (b"", ""),
        ("[" * 100_000, "[" * 300),
        ("x" * 1000, "x" * 300),
    ],
)
def test_a_refusal_is_one_line_that_can_be_shown(reply: bytes | str, shown: str) -> None:
    assert said(reply) == shown
