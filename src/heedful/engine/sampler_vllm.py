"""Answers from vLLM in this process, an optional extra: `pip install heedful[vllm]`."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data import chat
from heedful.engine.sampler import Answered, Asked, answered, check_foreign, keys, prompt_ids, tells_logp
from heedful.engine.sampling import Sample, Sampling
from heedful.errors import UserError
from heedful.nn import hub


class VllmSampler:
    """vLLM as a `Sampler`. Every answer is a request with a seed of its own; vLLM's prefix cache shares the prompt.

    Log-probs are vLLM's default (`logprobs_mode="raw_logprobs"`): the model's, before the temperature. Where ours
    would differ, at temperatures other than 0 and 1, they are left empty.
    """

    def __init__(self, llm: Any, tokenizer: Any) -> None:
        chat.ensure_chat_template(tokenizer)
        self.llm, self.tokenizer = llm, tokenizer
        self.stop = chat.stop_ids(tokenizer)

    @classmethod
    def load(cls, source: str | Path, **options: Any) -> "VllmSampler":
        """Load a folder in the Hugging Face layout, or by hub name; `options` are those of `vllm.LLM`."""
        return cls(_vllm().LLM(model=str(source), **options), hub.load_tokenizer(source))

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """As `Sampler.answer`; how many prompts are in work is vLLM's `max_num_seqs`, not `slots`."""
        check_foreign(how, "vLLM")
        if how.grammar:
            raise UserError(
                "a grammar works in this process and on servers only: sample there, or without it"
            )
        ids = [prompt_ids(self.tokenizer, p) for p in prompts]
        wanted = [keys(p, how, seed, n) for p in prompts]
        asked = [{"prompt_token_ids": list(i)} for i, row in zip(ids, wanted, strict=True) for _ in row]
        make = _vllm().SamplingParams
        params = [make(**self._parameters(how), seed=k) for row in wanted for k in row]
        outputs = iter(self.llm.generate(asked, params, use_tqdm=False))
        return [
            answered(i, [self._read(next(outputs).outputs[0], how) for _ in row], how, n)
            for i, row in zip(ids, wanted, strict=True)
        ]

    def _parameters(self, how: Sampling) -> dict[str, Any]:
        return {
            "max_tokens": how.max_completion_length,
            "temperature": how.temperature,
            "top_k": how.top_k,
            "top_p": how.top_p,
            "min_p": how.min_p,
            "repetition_penalty": how.repetition_penalty,
            "presence_penalty": how.presence_penalty,
            "frequency_penalty": how.frequency_penalty,
            "stop": list(how.stop),
            "stop_token_ids": [*self.stop, *how.stop_token_ids],
            "logprobs": 0 if tells_logp(how) else None,
        }

    def _read(self, output: Any, how: Sampling) -> tuple[Sample, str]:
        ids = np.asarray(output.token_ids, dtype=np.int64)
        told = zip(output.token_ids, output.logprobs or (), strict=False)
        logp = np.array([row[token].logprob for token, row in told], dtype=np.float32)
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Sample(ids, logp, output.finish_reason == "stop"), text


def _vllm() -> Any:
    try:
        return import_module("vllm")
    except ImportError as error:
        raise UserError(
            "vLLM is not installed here: pip install 'heedful[vllm]', or sample in this process or from a server"
        ) from error
