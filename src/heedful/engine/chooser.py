"""How likely a model finds each of a few replies to a question, and what it writes before: here or behind a server."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heedful.data import chat
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.endpoint import Endpoint
from heedful.engine.policy import Policy
from heedful.engine.sampler import Sampler
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampling import Sampling
from heedful.engine.score import sequence_columns
from heedful.errors import UserError
from heedful.types import Message, Prompt

Question = tuple[Message, ...]
TOP = 20  # how many of the likeliest tokens a server is asked for: OpenAI's limit
UNSEEN = -20.0  # nats of a reply that is not among them


class Chooser(Protocol):
    """Anything that tells how likely it finds given replies."""

    def logp(self, questions: Sequence[Question], choices: Sequence[str]) -> NDArray[np.float64]:
        """Log-probs [questions, choices], not normalised over the choices."""
        ...

    def write(self, questions: Sequence[Question], length: int) -> list[str]:
        """The likeliest reply to each question, token by token, of at most `length` tokens."""
        ...


class ModelChooser:
    """A policy in this process; a question is computed once for all replies to it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def logp(self, questions: Sequence[Question], choices: Sequence[str]) -> NDArray[np.float64]:
        """Of whole replies, their end included. Questions longer than the model's context are an error."""
        tokenizer = self.policy.tokenizer
        nodes = tuple(answer_node(chat.answer_ids(tokenizer, choice)) for choice in choices)
        trees = [Tree(prompt_node(chat.render_prompt(tokenizer, q)), nodes) for q in questions]
        longest = max((t.size for t in trees), default=1)
        self._fits(longest)
        found = sequence_columns(self.policy.model, trees, "logp", token_budget=max(16384, longest))
        return np.asarray([[float(logp.sum()) for logp in row] for row in found])

    def write(self, questions: Sequence[Question], length: int) -> list[str]:
        """Questions that leave no room for `length` tokens in the model's context are an error."""
        asked = [len(chat.render_prompt(self.policy.tokenizer, q)) for q in questions]
        self._fits(max(asked, default=0) + length)
        return _written(self.policy, questions, length)

    def _fits(self, longest: int) -> None:
        context = getattr(self.policy.model.config, "max_position_embeddings", None)
        if context is not None and longest > context:
            raise UserError(
                f"a question to the judge has {longest} tokens, more than its context of {context}: give principles "
                "with fewer words, shorter answers, less reasoning, or a judge with a longer context"
            )


class ServerChooser:
    """A model behind an OpenAI-compatible API that tells the log-probs of its likeliest first tokens.

    The choices must differ in their first token. Those that are not among the likeliest count as very unlikely.
    """

    def __init__(self, endpoint: Endpoint, model: str, *, connections: int = 16) -> None:
        self.endpoint, self.model, self.connections = endpoint, model, connections

    def logp(self, questions: Sequence[Question], choices: Sequence[str]) -> NDArray[np.float64]:
        """One request a question."""
        pool = ThreadPoolExecutor(self.connections)
        try:
            rows = list(pool.map(lambda q: self._ask(q, choices), questions))
        finally:
            pool.shutdown(cancel_futures=True)
        return np.asarray(rows)

    def write(self, questions: Sequence[Question], length: int) -> list[str]:
        """One request a question."""
        sampler = ServerSampler(self.endpoint, self.model, connections=self.connections)
        return _written(sampler, questions, length)

    def _ask(self, question: Question, choices: Sequence[str]) -> list[float]:
        body = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in question],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": TOP,
        }
        likeliest = self._likeliest(self.endpoint.post("chat/completions", body))
        mass = [
            sum(
                math.exp(logp)
                for token, logp in likeliest
                if token.strip() and choice.startswith(token.strip())
            )
            for choice in choices
        ]
        if not any(mass):
            raise UserError(
                f"{self.endpoint.url} finds none of {', '.join(choices)} likely as a reply: it does not follow the "
                "question; give another judge, or principles whose choices it says"
            )
        return [math.log(m) if m else UNSEEN for m in mass]

    def _likeliest(self, reply: dict[str, Any]) -> list[tuple[str, float]]:
        try:
            rows = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            found = [(row["token"], float(row["logprob"])) for row in rows]
        except (KeyError, IndexError, TypeError, ValueError):
            found = []
        if not found or not all(isinstance(t, str) and -math.inf <= p <= 1e-6 for t, p in found):
            raise UserError(
                f"{self.endpoint.url} does not tell log-probs (top_logprobs), which a judge needs: ask another server"
            )
        return found


def _written(sampler: Sampler, questions: Sequence[Question], length: int) -> list[str]:
    prompts = [Prompt(str(number), question) for number, question in enumerate(questions)]
    answered = sampler.answer(prompts, Sampling(length, 0.0), seed=("judge",))
    return [a.texts[0] for a in answered]
