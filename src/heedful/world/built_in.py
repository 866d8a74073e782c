"""The built-in world as one object: texts, prompts and demonstrations, all from a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from heedful.errors import UserError, nearest
from heedful.types import Conversation, Lang, Message, Prompt
from heedful.world import corpus, tasks
from heedful.world.demonstrators import demonstrate
from heedful.world.languages import lexicon
from heedful.world.story import Split


@dataclass(frozen=True)
class World:
    """A world of short stories with a known truth, in English or Chinese; a seed gives one world."""

    seed: int = 0
    lang: Lang = "en"

    def __post_init__(self) -> None:
        lexicon(self.lang)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, longest first. Where words have no spaces, a tokenizer does well to keep them whole."""
        lex = lexicon(self.lang)
        names = {lex.bare_name(name) for group in lex.by_type.values() for name in group}
        return tuple(sorted(names, key=lambda name: (-len(name), name)))

    def corpus(self, documents: int, split: Split = "train") -> Iterator[str]:
        """Plain texts to pretrain on, from easy to full: train in this order."""
        return corpus.corpus(self.lang, self.seed, documents, split)

    def heldout(self, documents: int) -> Iterator[str]:
        """Plain texts of the test split, all full."""
        return corpus.corpus(self.lang, self.seed, documents, "test")

    def prompts(
        self, n: int, seed: int = 0, split: Split = "train", tasks: Sequence[str] | None = None
    ) -> list[Prompt]:
        """`n` prompts, the tasks (all by default) in turn, so that every task has the same share."""
        return [self._prompt(index, seed, split, _known(tasks)) for index in range(n)]

    def _prompt(self, index: int, seed: int, split: Split, names: Sequence[str]) -> Prompt:
        task = names[index % len(names)]
        name = f"{self.lang}-{split}-{self.seed}-{seed}-{index}"
        return tasks.make(self.lang, split, task, name, Random(f"prompt {name} {task}"))

    def demonstrations(
        self, n: int, seed: int = 0, split: Split = "train", tasks: Sequence[str] | None = None
    ) -> list[Conversation]:
        """`n` dialogues by people of mixed skill; `source` names the task and the way of answering."""
        found = []
        for prompt in self.prompts(n, seed, split, tasks):
            answer = demonstrate(prompt, seed)
            messages = (*prompt.messages, Message("assistant", answer.text))
            found.append(Conversation(messages, prompt.id, source=f"{prompt.task}: {answer.policy}"))
        return found


def _known(names: Sequence[str] | None) -> Sequence[str]:
    for name in names or ():
        if name not in tasks.TASKS:
            raise UserError(f"The built-in world has no task '{name}'.{nearest(name, tasks.TASKS)}")
    return names or tasks.TASKS
