"""A policy as those who measure it see it: prompts in, texts out, and its distance from a reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heedful.data import chat
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.sample import Request, Sample, Sampling, sample
from heedful.engine.sampler import Answered, Asked, Sampler, answered, keys, prompt_ids
from heedful.engine.score import sequence_columns, use_packed_attention
from heedful.errors import UserError
from heedful.nn import hub
from heedful.types import Prompt

__all__ = ["Answered", "Policy"]


class Policy:
    """A causal language model with its tokenizer and chat template; another `sampler` may write its answers."""

    def __init__(self, model: Any, tokenizer: Any, sampler: Sampler | None = None) -> None:
        chat.ensure_chat_template(tokenizer)
        use_packed_attention(model)
        self.model, self.tokenizer, self.sampler = model.eval(), tokenizer, sampler
        self.stop = chat.stop_ids(tokenizer, model)

    @classmethod
    def load(cls, source: str | Path) -> "Policy":
        return cls(hub.load_model(source), hub.load_tokenizer(source))

    def fitting(self, prompts: Sequence[Prompt], max_completion_length: int) -> list[Prompt]:
        """The prompts that leave room for an answer in the model's context; UserError if none does."""
        context = getattr(self.model.config, "max_position_embeddings", None)
        if context is None:
            return list(prompts)
        room = context - max_completion_length
        fit = [p for p in prompts if len(chat.render_prompt(self.tokenizer, p.messages)) <= room]
        if not fit:
            raise UserError(
                f"none of the {len(prompts)} prompts leaves room for {max_completion_length} tokens of answer in the "
                f"model's context of {context}: shorten the prompts or lower max_completion_length"
            )
        return fit

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """Draw `n` answers a prompt; the random numbers depend on `seed`, the prompt's id and the sample's number.

        Of `how.best_of` answers the n best are given; with `how.num_beams`, the n best beams.
        """
        if self.sampler is not None:
            return self.sampler.answer(prompts, how, seed=seed, n=n, slots=slots)
        requests = [Request(prompt_ids(self.tokenizer, p), keys(p, how, seed, n)) for p in prompts]
        drawn = sample(self.model, requests, how, stop=self.stop, slots=slots, tokenizer=self.tokenizer)
        return [
            answered(tuple(request.prompt), [(a, self._decoded(a)) for a in row], how, n)
            for request, row in zip(requests, drawn, strict=True)
        ]

    def _decoded(self, answer: Sample) -> str:
        decoded: str = self.tokenizer.decode(answer.ids, skip_special_tokens=True)
        return decoded

    def kl(self, answered: Sequence[Answered], reference: Any) -> list[float]:
        """For each answer (drawn at temperature 1) log pi - log ref summed over its tokens, in nats."""
        trees = [Tree(prompt_node(a.prompt), tuple(answer_node(s.ids) for s in a.samples)) for a in answered]
        found = sequence_columns(reference, trees, "logp")
        return [
            float(s.logp.sum() - logp.sum())
            for a, row in zip(answered, found, strict=True)
            for s, logp in zip(a.samples, row, strict=True)
        ]
