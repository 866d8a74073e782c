"""The project's own engine behind a server: models, adapters and reward models in this process."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from heedful.data import chat
from heedful.engine.likelihood import TokenLogp, embeddings, token_logps
from heedful.engine.precision import dtype
from heedful.engine.rewards import load_reward
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import described
from heedful.engine.stream import Ask, Stream
from heedful.errors import UserError
from heedful.nn import hub
from heedful.nn.served_adapters import Adapters
from heedful.serve.backend import Served
from heedful.serve.config import ServeConfig, folder_name
from heedful.serve.metrics import Metrics
from heedful.serve.worker import Lane, Ticket, Worker

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

TOKENS_AT_ONCE = 4096
"""Given texts are computed in parts of about so many tokens, so that those who stream wait for one part only."""


class LocalEngine:
    """Every model of the configuration, loaded, and the thread that moves them."""

    def __init__(self, config: ServeConfig, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self.models: dict[str, Served] = {}
        self._modules: dict[str, Any] = {}
        lanes: dict[str, Lane] = {}
        for name, source in sources(config).items():
            module = hub.load_model(source, dtype=dtype(config.precision))
            adapters = Adapters(module, config.adapters if not self.models else {})
            use_packed_attention(module.eval())
            self._add(name, source, module, lanes, partial(adapters.select, None))
            for adapter, folder in config.adapters.items() if len(self.models) == 1 else ():
                self._add(adapter, folder, module, lanes, partial(adapters.select, adapter), parent=name)
        self._selects = {name: lane.select for name, lane in lanes.items()}
        self._scorers = {name: load_reward(source) for name, source in config.rewards().items()}
        self.rewards = {name: described(source) for name, source in config.rewards().items()}
        self.worker = Worker(lanes, metrics, queue=config.queue)
        metrics.gauges |= {
            "waiting": ("Answers that wait for a slot.", lambda: self.worker.depth),
            "running": ("Answers that are being written.", lambda: self.worker.running),
            "computations": ("Texts that wait to be scored or embedded.", lambda: self.worker.calls),
        }

    def _add(
        self,
        name: str,
        source: str,
        module: Any,
        lanes: dict[str, Lane],
        select: Callable[[], None],
        parent: str | None = None,
    ) -> None:
        if name in self.models:
            raise UserError(f"two models are called '{name}': give them other names")
        tokenizer = hub.load_tokenizer(self._text_source(source, parent))
        chat.ensure_chat_template(tokenizer)
        config = self.config
        context = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        context = min(config.max_length, context or config.max_length)
        longest = min(config.max_completion_length, context - 1)
        make = partial(Stream, module, slots=config.slots, prompt_room=context, answer_room=longest)
        # Decoding runs in the thread while prompts are encoded in the event loop: a tokenizer is not safe for both.
        lanes[name] = Lane(make, hub.load_tokenizer(self._text_source(source, parent)), select)
        self._modules[name] = module
        self.models[name] = Served(
            name,
            tokenizer,
            chat.stop_ids(tokenizer, module),
            context,
            longest,
            module.config.get_text_config().vocab_size,
            int(time.time()),
            parent,
            described(source),
        )

    def _text_source(self, source: str, parent: str | None) -> str:
        """Where the tokenizer lies: an adapter may bring the base's with a chat template of its own."""
        if parent is None or (Path(source) / "tokenizer.json").is_file():
            return source
        return sources(self.config)[parent]

    def start(self) -> None:
        self.worker.start()

    def close(self) -> None:
        self.worker.close()

    @property
    def alive(self) -> bool:
        return self.worker.alive

    def submit(self, model: str, asks: Sequence[Ask], stop: Sequence[str] = ()) -> Ticket:
        return self.worker.submit(model, asks, stop)

    def cancel(self, answering: Any) -> None:
        self.worker.cancel(answering)

    async def logps(self, model: str, texts: Sequence[Sequence[int]], top: int) -> list[list[TokenLogp]]:
        """As `engine.likelihood.token_logps`, in parts."""
        return await self._parts(model, texts, lambda module, part: token_logps(module, part, top))

    async def embed(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """As `engine.likelihood.embeddings`, in parts."""
        return await self._parts(model, texts, embeddings)

    async def _parts(
        self,
        model: str,
        texts: Sequence[Sequence[int]],
        compute: Callable[[Any, Sequence[Sequence[int]]], list[Result]],
    ) -> list[Result]:
        select, module = self._selects[model], self._modules[model]

        def work(part: Sequence[Sequence[int]]) -> list[Result]:
            select()
            return compute(module, part)

        found: list[Result] = []
        for part in in_parts(texts):
            found += await self.worker.call(partial(work, part))
            self.metrics.scored_tokens.add(sum(map(len, part)))
        return found

    async def reward(self, name: str, work: Callable[[Any], Result]) -> Result:
        """Let `work(reward model)` be computed in the thread."""
        return await self.worker.call(partial(work, self._scorers[name]))

    async def reload(self, name: str) -> None:
        """Read a model's folder again, into the model that is served."""
        source, module = sources(self.config)[name], self._modules[name]
        new = await asyncio.to_thread(hub.load_model, source, dtype=dtype(self.config.precision))
        print_ = await asyncio.to_thread(described, source)
        await self.worker.call(lambda: module.load_state_dict(new.state_dict()))
        self.models[name].fingerprint = print_

    async def watch(self, every: float = 0.2) -> None:
        """Reload models whose folders were replaced, for as long as this runs."""
        seen = {name: _stamp(source) for name, source in sources(self.config).items()}
        while True:
            await asyncio.sleep(every)
            for name, source in sources(self.config).items():
                now = _stamp(source)
                if now and now != seen[name]:
                    try:
                        await self.reload(name)
                    except (UserError, OSError, RuntimeError) as error:  # half written, or of another shape
                        _log.warning("'%s' was replaced and cannot be loaded: %s", source, error)
                    else:
                        seen[name] = now


def sources(config: ServeConfig) -> dict[str, str]:
    """Where each model lies, by the names that clients use; the first is the one that adapters are for."""
    if config.model is None:
        return {}
    first = config.name or folder_name(config.model)
    if first in config.models:
        raise UserError(f"two models are called '{first}': give name=")
    return {first: config.model, **config.models}


def in_parts(texts: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """The texts in order, in parts of about `TOKENS_AT_ONCE` tokens."""
    parts: list[list[Sequence[int]]] = []
    size = 0
    for text in texts:
        if not parts or size + len(text) > TOKENS_AT_ONCE:
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += len(text)
    return parts


def _stamp(source: str) -> tuple[int, ...] | None:
    try:
        found = [p.stat() for p in sorted(Path(source).glob("*.safetensors"))]
    except OSError:
        return None
    return tuple(x for s in found for x in (s.st_ino, s.st_mtime_ns, s.st_size)) or None
