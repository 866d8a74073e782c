"""The steps of a solution."""


def split_steps(text: str, separator: str = "\n") -> tuple[str, ...]:
    """The parts of `text` between separators, without the empty ones, each without space around it."""
    return tuple(part.strip() for part in text.split(separator) if part.strip())
