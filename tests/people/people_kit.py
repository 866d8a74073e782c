"""A store with prompts and answers, and people who work on it."""

from uuid import UUID, uuid4

from heedful.data.store import Annotator, Store
from heedful.people import Assignment, BatchSettings, NewTask, Queue, Reply
from heedful.types import Answer, Message, Prompt

PEOPLE = ("ada", "bo", "cy", "di")


def fill(store: Store, prompts: int = 6, answers: int = 4) -> None:
    """Prompts p0, p1, ... with answers p0a0, ...; the longer an answer's text the higher its number."""
    store.add_prompts(Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(prompts))
    store.add_answers(
        Answer(f"p{i}a{j}", f"p{i}", f"step one of {i}\nstep two{' and' * j}", f"policy {j}")
        for i in range(prompts)
        for j in range(answers)
    )
    store.add_annotators(Annotator(name) for name in PEOPLE)


def pairs(prompts: int = 6) -> list[NewTask]:
    """A task a prompt, about its first two answers."""
    return [NewTask(f"p{i}", (f"p{i}a0", f"p{i}a1")) for i in range(prompts)]


def opened(store: Store, *, prompts: int = 6, **settings: object) -> Queue:
    """A queue with one batch `b` of pairs."""
    queue = Queue(store)
    queue.create_batch("b", "pairs", BatchSettings("compare", **settings), pairs(prompts))  # type: ignore[arg-type]
    return queue


def choose(preference: int = 1) -> Reply:
    """A choice of the side shown first, if above 0."""
    return Reply(choices={"overall": preference})


def claimed(queue: Queue, annotator: str) -> Assignment:
    """The next task, which there must be."""
    found = queue.claim(annotator)
    assert isinstance(found, Assignment), found
    return found


def work_off(queue: Queue, annotator: str, preference: int = 1) -> list[str]:
    """Answer until nothing is left; return the tasks."""
    done = []
    while isinstance(found := queue.claim(annotator), Assignment):
        queue.submit(annotator, found.task, choose(preference), uuid=uuid4(), version=found.version)
        done.append(found.task)
    return done


def numbered(number: int) -> UUID:
    """A UUID by its number."""
    return UUID(int=number)
