"""Tokens as text while an answer is written: whole characters only, and never past a stop string."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

BROKEN = "\ufffd"


class Writer:
    """The text of one answer, token by token; what is given out joined is the decoded text up to a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._ids: list[int] = []
        self._from = self._read = (
            0  # text is decoded from `_from`, of which tokens before `_read` were given out
        )
        self._held = ""
        self.stopped = False

    def take(self, token: int) -> str:
        """The text that is certain with this token: it holds no half character and no beginning of a stop string."""
        self._ids.append(token)
        before, now = self._decoded(self._read), self._decoded(None)
        if len(now) <= len(before) or now.endswith(BROKEN):
            return ""
        self._from, self._read = self._read, len(self._ids)
        return self._cut(now[len(before) :], last=False)

    def rest(self) -> str:
        """What was held back, where the answer ends without a further token."""
        before, now = self._decoded(self._read), self._decoded(None)
        return "" if self.stopped else self._cut(now[len(before) :], last=True)

    def _decoded(self, end: int | None) -> str:
        return str(self._tokenizer.decode(self._ids[self._from : end], skip_special_tokens=True))

    def _cut(self, new: str, *, last: bool) -> str:
        text = self._held + new
        found = [at for s in self._stop if (at := text.find(s)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = 0 if last else max((_overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of the stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


class Spelling:
    """The bytes and the text of single tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)

    def bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; of a special token its name's."""
        name = str(self._tokenizer.convert_ids_to_tokens(token))
        if token in self._special:
            return name.encode()
        if self._byte_level:
            return bytes(_BYTES[c] for c in name) if all(c in _BYTES for c in name) else name.encode()
        if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            return bytes([int(name[3:5], 16)])
        return name.replace("\u2581", " ").encode(errors="replace")

    def text(self, token: int) -> str:
        """A token as a string that no other token has: bytes that are no character are spelled out."""
        raw = self.bytes(token)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{b:02x}" for b in raw)

    @cached_property
    def _byte_level(self) -> bool:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        return backend is not None and "ByteLevel" in json.dumps(json.loads(backend.to_str())["decoder"])


def _byte_alphabet() -> dict[str, int]:
    """The characters that byte-level tokenizers write for bytes (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTES = _byte_alphabet()
