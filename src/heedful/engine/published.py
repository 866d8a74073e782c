"""Answers of a policy in training, drawn by another machine that serves what is published in a folder."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heedful.data import atomic
from heedful.engine.endpoint import Endpoint
from heedful.engine.reward_server import PATIENCE
from heedful.engine.sampler import Answered, Asked, TokenPrompt, prompt_ids
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampling import Sampling
from heedful.engine.stage import fingerprint
from heedful.errors import UserError
from heedful.nn import hub


class PublishedSampler:
    """A `Sampler` that writes the model to `folder`, waits until the server has it, and lets the server answer.

    The server is `heedful serve FOLDER watch=true`, on this machine or another that sees the folder. Answers are
    those of the weights of now, so training stays on-policy; `engine.ahead` asks for them one iteration early.
    """

    def __init__(
        self, server: ServerSampler, model: Any, tokenizer: Any, folder: Path, *, timeout: float = 300.0
    ) -> None:
        self.server, self.model, self.tokenizer = server, model, tokenizer
        self.folder, self.timeout = folder, timeout

    @classmethod
    def at(cls, url: str, model: Any, tokenizer: Any, folder: Path) -> "PublishedSampler":
        """The server at an address with the model's name, http://host:8000/v1#NAME; the key is HEEDFUL_API_KEY's."""
        address, _, name = url.partition("#")
        if not name:
            raise UserError(f"'{url}' does not say which model of the server answers: write {url}#NAME")
        endpoint = Endpoint(address, os.environ.get("HEEDFUL_API_KEY"), retries=PATIENCE)
        server = ServerSampler(endpoint, name, tokenizer, tokens=True, connections=64)
        return cls(server, model, tokenizer, folder)

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """As `Sampler.answer`."""
        return self.begin(prompts, how, seed=seed, n=n, slots=slots)()

    def begin(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> Callable[[], list[Answered]]:
        """Write the weights of now; what is returned waits until the server has them and answers with them.

        Prompts are rendered at once, since a tokenizer is for one thread at a time.
        """
        asked = [TokenPrompt(p.id, prompt_ids(self.tokenizer, p)) for p in prompts]
        with atomic.new_folder(self.folder) as folder:
            hub.save_model(folder, self.model, self.tokenizer)
        wanted = fingerprint(self.folder)

        def rest() -> list[Answered]:
            self._wait(wanted)
            return self.server.answer(asked, how, seed=seed, n=n, slots=slots)

        return rest

    def _wait(self, wanted: str) -> None:
        """Wait until the server answers with what has this fingerprint."""
        limit = time.monotonic() + self.timeout
        endpoint, name = self.server.endpoint, self.server.model
        while endpoint.get(f"models/{name}").get("fingerprint") != wanted:
            if time.monotonic() > limit:
                raise UserError(
                    f"the server {endpoint.url} has not loaded '{self.folder}' in {self.timeout:g} seconds: was it "
                    "started with that folder and watch=true?"
                )
            time.sleep(0.05)
