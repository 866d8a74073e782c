"""A tokenizer that remembers, from run to run, what it made of a file's texts.

What is kept is a function of the tokenizer and the text alone: templates, lengths and other settings decide which
texts are asked for, so none of them can make it wrong. One file of the cache for a tokenizer and what it reads.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.data import cache

LEAST = 1000
"""So many new texts are worth a file; fewer are encoded in less than a quarter of a second."""

_KEY = 16


class Remembered:
    """A tokenizer as `data.chat` uses one, which encodes no text twice; everything else is the tokenizer's own."""

    def __init__(self, tokenizer: Any, path: Path) -> None:
        self.tokenizer, self.path, self.size = tokenizer, path, len(tokenizer)
        self.known = _read(path, self.size)
        self.new: dict[bytes, NDArray[np.int32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(
        self,
        text: str,
        *,
        add_special_tokens: bool = False,
        split_special_tokens: bool = False,
        verbose: bool = False,
    ) -> list[int]:
        """As the tokenizer's; special tokens are never added to what is remembered."""
        key = _key(text, split_special_tokens)
        found = None if add_special_tokens else self._found(key)
        if found is None:
            how = {"add_special_tokens": add_special_tokens, "split_special_tokens": split_special_tokens}
            ids: list[int] = self.tokenizer.encode(text, **how, verbose=verbose)
            if not add_special_tokens:
                self.new[key] = np.asarray(ids, dtype=np.int32)
            return ids
        return list(found.tolist())

    def __call__(
        self, texts: Sequence[str], *, add_special_tokens: bool = False
    ) -> dict[str, list[list[int]]]:
        """Many texts; those that are new are encoded together."""
        if add_special_tokens:
            return dict(self.tokenizer(texts, add_special_tokens=True))
        keys = [_key(text, False) for text in texts]
        new = {k: t for k, t in zip(keys, texts, strict=True) if self._found(k) is None}
        if new:
            rows = self.tokenizer(list(new.values()), add_special_tokens=False)["input_ids"]
            self.new |= {k: np.asarray(ids, dtype=np.int32) for k, ids in zip(new, rows, strict=True)}
        return {"input_ids": [self._sure(k).tolist() for k in keys]}

    def keep(self) -> None:
        """Write what is new beside what was known, if it is worth a file."""
        if len(self.new) < LEAST or len(self.tokenizer) != self.size:
            return
        every = {**self.known, **self.new}
        cache.write(
            self.path,
            {
                "keys": np.frombuffer(b"".join(every), dtype=np.uint8).reshape(-1, _KEY),
                "ends": np.cumsum([len(ids) for ids in every.values()], dtype=np.int64),
                "ids": np.concatenate(list(every.values())),
            },
        )
        cache.prune(self.path.parent)

    def _found(self, key: bytes) -> NDArray[np.int32] | None:
        found = self.known.get(key)
        return self.new.get(key) if found is None else found

    def _sure(self, key: bytes) -> NDArray[np.int32]:
        found = self._found(key)
        assert found is not None
        return found


@contextmanager
def remembered(tokenizer: Any, contents: Iterable[str]) -> Iterator[Any]:
    """The tokenizer, with a memory for what is made of files with these fingerprints.

    It is the tokenizer itself where there is no cache folder, and where it is not one of the `tokenizers` library.
    """
    folder, inner = cache.folder(), getattr(tokenizer, "backend_tokenizer", None)
    if folder is None or inner is None:
        yield tokenizer
        return
    whole = hashlib.sha256(f"{version('tokenizers')}\0{version('transformers')}\0".encode())
    for part in (inner.to_str(), type(tokenizer).__name__, *contents):
        whole.update(f"{part}\0".encode())
    memory = Remembered(tokenizer, folder / "tokens" / f"{whole.hexdigest()}.safetensors")
    yield memory
    memory.keep()
    memory.known, memory.new = {}, {}  # the reader itself may live on in other caches


def _key(text: str, literal: bool) -> bytes:
    return hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=_KEY, salt=b"%d" % literal
    ).digest()


def _read(path: Path, size: int) -> dict[bytes, NDArray[np.int32]]:
    """What lies at `path`; nothing where it is not whole, or holds what no tokenizer of this size makes."""
    arrays = cache.read(path) or {}
    keys, ends, ids = (arrays.get(name) for name in ("keys", "ends", "ids"))
    if keys is None or ends is None or ids is None:
        return {}
    right = (
        keys.dtype == np.uint8 and keys.shape == (len(ends), _KEY) and ids.dtype == np.int32 and ids.ndim == 1
    )
    if not right or ends.dtype != np.int64 or not len(ends) or not len(ids):
        return {}
    bounds = np.concatenate([[0], ends])
    if np.any(np.diff(bounds) < 0) or ends[-1] != len(ids) or ids.min() < 0 or ids.max() >= size:
        return {}
    parts = (ids[a:b] for a, b in pairwise(bounds.tolist()))
    return dict(zip(map(bytes, keys), parts, strict=True))
