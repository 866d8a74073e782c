"""vLLM behind the server's interface, an optional extra: `pip install heedful[vllm]`.

vLLM does the batching; what a client may ask, its limits and its errors stay this server's. Tested against its
signature only.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import import_module
from itertools import count
from typing import Any, TypeVar

from heedful.data import chat
from heedful.data.spelling import Writer
from heedful.engine.likelihood import TokenLogp
from heedful.engine.stage import described
from heedful.engine.stream import Ask, End
from heedful.errors import UserError
from heedful.nn import hub
from heedful.serve.backend import Served
from heedful.serve.config import ServeConfig
from heedful.serve.errors import ApiError
from heedful.serve.local import sources
from heedful.serve.metrics import Metrics
from heedful.serve.worker import Busy, Failed, Piece

Result = TypeVar("Result")


class Outputs:
    """The answers of one request, as vLLM writes them."""

    def __init__(
        self, engine: "VllmEngine", served: Served, asks: Sequence[Ask], stop: Sequence[str]
    ) -> None:
        self._queue: asyncio.Queue[list[Piece] | Exception] = asyncio.Queue()
        self._engine, self._served, self._left = engine, served, len(asks)
        self.tasks = [asyncio.ensure_future(self._read(i, ask, tuple(stop))) for i, ask in enumerate(asks)]

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        while self._left:
            found = await self._queue.get()
            if isinstance(found, Exception):
                raise Failed("the engine failed while it wrote this answer") from found
            self._left -= sum(bool(p.end) for p in found)
            yield found

    async def _read(self, number: int, ask: Ask, stop: tuple[str, ...]) -> None:
        self._engine.running += 1
        try:
            await self._pieces(number, ask, Writer(self._served.tokenizer, stop))
        except Exception as error:
            self._queue.put_nowait(error)
        finally:
            self._engine.running -= 1

    async def _pieces(self, number: int, ask: Ask, writer: Writer) -> None:
        seen = 0
        prompt = {"prompt_token_ids": list(ask.prompt)}
        # Closing the iterator tells vLLM to stop, when the client leaves and at a stop string.
        outputs = self._engine.llm.generate(prompt, self._engine.parameters(ask), self._engine.next_id())
        async for output in outputs:
            answer = output.outputs[0]
            new = list(answer.token_ids)[seen:]
            pieces: list[Piece] = []
            for at, token in enumerate(new, seen):
                text = writer.take(token)
                last = at + 1 == len(answer.token_ids) and answer.finish_reason is not None
                end: End = "stop" if writer.stopped else _end(answer.finish_reason) if last else ""
                text += writer.rest() if end and not writer.stopped else ""
                logp, top = (
                    _told(answer.logprobs[at], token, ask.logprobs)
                    if ask.logprobs is not None
                    else (None, ())
                )
                pieces.append(Piece(number, text, token, end, logp, top))
                if end:
                    break
            seen += len(new)
            self._queue.put_nowait(pieces)
            if pieces and pieces[-1].end:
                return


class VllmEngine:
    """vLLM's asynchronous engine with one model."""

    def __init__(self, llm: Any, name: str, tokenizer: Any, config: ServeConfig, metrics: Metrics) -> None:
        chat.ensure_chat_template(tokenizer)
        self.llm, self.metrics, self.limit = llm, metrics, config.slots + config.queue
        self.running, self._ids = 0, count()
        self.rewards: dict[str, str] = {}
        context = min(config.max_length, llm.model_config.max_model_len)
        self.models = {
            name: Served(
                name,
                tokenizer,
                chat.stop_ids(tokenizer),
                context,
                min(config.max_completion_length, context - 1),
                llm.model_config.get_vocab_size(),
                int(time.time()),
                fingerprint=described(str(config.model)),
            )
        }
        metrics.gauges["running"] = ("Answers that are being written or wait for it.", lambda: self.running)

    @classmethod
    def load(cls, config: ServeConfig, metrics: Metrics) -> "VllmEngine":
        """Load the configuration's model."""
        if config.model is None or config.models or config.adapters or config.reward or config.watch:
            raise UserError("engine=vllm serves one model: leave out models, adapters, reward and watch")
        vllm = _vllm()
        options = vllm.AsyncEngineArgs(model=config.model, max_num_seqs=config.slots, max_logprobs=20)
        name = next(iter(sources(config)))
        llm = vllm.AsyncLLMEngine.from_engine_args(options)
        return cls(llm, name, hub.load_tokenizer(config.model), config, metrics)

    def start(self) -> None:
        """vLLM's engine runs already."""

    def close(self) -> None:
        self.llm.shutdown()

    @property
    def alive(self) -> bool:
        return not self.llm.errored

    def next_id(self) -> str:
        """A name for a request, which vLLM wants."""
        return f"heedful-{next(self._ids)}"

    def submit(self, model: str, asks: Sequence[Ask], stop: Sequence[str] = ()) -> Outputs:
        if self.running + len(asks) > self.limit:
            raise Busy
        if any(ask.grammar for ask in asks):
            raise ApiError("engine=vllm has no response_format here", param="response_format")
        return Outputs(self, self.models[model], asks, stop)

    def cancel(self, answering: Any) -> None:
        for task in answering.tasks:
            task.cancel()

    def parameters(self, ask: Ask) -> Any:
        """An answer's settings in vLLM's words; stop strings are found here, as they are for every engine."""
        how = ask.how
        return _vllm().SamplingParams(
            max_tokens=ask.longest,
            temperature=how.temperature,
            top_k=how.top_k,
            top_p=how.top_p,
            min_p=how.min_p,
            repetition_penalty=how.repetition_penalty,
            presence_penalty=how.presence_penalty,
            frequency_penalty=how.frequency_penalty,
            stop_token_ids=sorted(ask.stop),
            logit_bias=dict(ask.bias) or None,
            logprobs=ask.logprobs,
            seed=ask.key,
        )

    async def logps(self, model: str, texts: Sequence[Sequence[int]], top: int) -> list[list[TokenLogp]]:
        """As `engine.likelihood.token_logps`."""
        make = _vllm().SamplingParams
        found = []
        for text in texts:
            params = make(max_tokens=1, temperature=0.0, prompt_logprobs=top)
            async for output in self.llm.generate({"prompt_token_ids": list(text)}, params, self.next_id()):
                rows = output.prompt_logprobs
            found.append([TokenLogp(*_told(row, t, top)) for row, t in zip(rows[1:], text[1:], strict=True)])
        return found

    async def embed(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """vLLM embeds with models that it loads for nothing else."""
        raise ApiError("engine=vllm has no embeddings here: serve the model with the project's own engine")

    async def reward(self, name: str, work: Callable[[Any], Result]) -> Result:
        """There is none, so no route asks."""
        raise ApiError(f"there is no reward model '{name}' here", 404)


def _end(reason: str) -> End:
    return "length" if reason == "length" else "stop"


def _told(row: Any, token: int, top: int | None) -> tuple[float, tuple[tuple[int, float], ...]]:
    """A token's log-prob, and the likeliest ones in order."""
    likeliest = sorted(((t, x.logprob) for t, x in row.items()), key=lambda item: -item[1])
    return row[token].logprob, tuple(likeliest[: top or 0])


def _vllm() -> Any:
    try:
        return import_module("vllm")
    except ImportError as error:
        raise UserError(
            "vLLM is not installed here: pip install 'heedful[vllm]', or leave out engine=vllm"
        ) from error
