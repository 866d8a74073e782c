"""A policy -> judgements: sample answers, let qualified annotators judge them, store every judgement."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heedful.data import formats, verdicts
from heedful.data.packing import shuffled
from heedful.data.store import convert, exchange, records, wild
from heedful.data.store.judgements import event_id
from heedful.data.store.records import Judgement
from heedful.data.store.store import Store
from heedful.engine import judges, judging, terminal
from heedful.engine.judging import Judging
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.engine.reward_model import RewardModel
from heedful.engine.sample import Sampling
from heedful.engine.sampler import Sampler
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.errors import UserError
from heedful.people import labels, rounds
from heedful.people.queue import Queue
from heedful.people.records import BatchSettings, Progress, Stop
from heedful.stats.qualify import qualify
from heedful.tasks.people import FunctionAnnotator, gold_items
from heedful.types import Answer, Comparison, Preference, Prompt


class Studio(BaseModel):
    """What people are asked, and when they have been asked enough; the first stop rule that is met closes the round.

    `link` is where the studio is served; `poll_seconds` how often the store is looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: Literal["rank", "compare"] = "rank"
    criteria: tuple[str, ...] = ("overall",)
    instructions: str = ""
    qualified: bool = False
    gold_rate: float = Field(0.0, ge=0, le=0.5)
    choice: Literal["random", "disagreement"] = "random"
    lease_seconds: float = Field(1800.0, ge=10)
    judgements: int | None = Field(None, gt=0)
    agreement: float | None = Field(None, gt=0, le=1)
    at_least: int = Field(50, gt=0)
    budget_seconds: float | None = Field(None, gt=0)
    aggregate: Literal["none", "majority", "dawid_skene", "bradley_terry"] = "none"
    link: str = "http://127.0.0.1:8420/"
    poll_seconds: float = Field(2.0, gt=0)


class FeedbackConfig(Judging, StageConfig):
    """`model` answers the `prompts`; `store` is an SQLite file or a postgresql:// URL.

    `source` is `judge` (a judge function, a model, or the world's simulated people); `studio`: people answer there, and
    the stage waits for them; or `chat`: what was said of answers in conversations, and accepted, since the last round.
    `reward_models` say by their disagreement what to ask first.

    `judge` is `world`, `file.py:function`, `reward:MODEL`, `ai:MODEL` (a folder, or http://host:8000/v1#NAME on a
    server) or `self`, the model itself. The last two are asked, and measured on the choices in `people` before they
    are used, as by `heedful judge` and with its settings.
    """

    model: str
    prompts: Path
    store: str
    source: Literal["judge", "studio", "chat"] = "judge"
    judge: str | None = None
    studio: Studio = Field(default_factory=lambda: Studio.model_validate({}))
    reward_models: tuple[Path, ...] = ()
    round: int = Field(1, ge=1)
    max_prompts: int = Field(1000, gt=1)
    answers_per_prompt: int = Field(4, ge=2, le=9)
    borrowed: int = Field(0, ge=0, le=4)
    temperature: float = Field(1.0, gt=0)
    max_completion_length: int = Field(64, gt=0)
    annotators: int = Field(8, gt=0)
    overlap: int = Field(2, gt=0)
    gold_items: int = Field(60, ge=0)
    gold_gap: float = Field(0.4, gt=0)
    cutoff: float = Field(0.75, ge=0, le=1)
    slots: int = Field(64, gt=0)


Candidates = list[tuple[Prompt, list[Answer]]]


def main(config: FeedbackConfig) -> dict[str, Any]:
    """Collect a round of judgements; write them as `output`/preferences.jsonl and verdicts.jsonl too."""
    if config.source == "judge" and config.judge is None:
        raise UserError("feedback needs judge: add judge=world or judge=file.py:function, or source=studio")
    inputs: Inputs = {
        "model": config.model,
        "prompts": config.prompts,
        "principles": config.principles,
        "people": config.people,
        **(judges.inputs(config.judge) if config.judge else {}),
        **{f"reward_models.{number}": path for number, path in enumerate(config.reward_models)},
    }
    stage = Stage("feedback", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    collect = {"studio": _from_people, "chat": _from_chat, "judge": _from_judge}[config.source]
    return collect(config, stage)


def _from_chat(config: FeedbackConfig, stage: Stage) -> dict[str, Any]:
    """Take the conversations' judgements that a researcher has accepted since the last round."""
    with Store.open(config.store, create=False) as store:
        events = wild.take(store, config.round)
        if not events:
            raise UserError(
                "no judgement of a conversation was accepted since the last round: review them in the studio (Talks)"
            )
        stage.begin()
        chosen = labels.aggregated(store, events, config.studio.aggregate)
        if not chosen:
            raise UserError(
                "the accepted judgements compare no answers, so no preference follows from them: rate on, and compare"
            )
        _learnt_from(stage, chosen)
    counts = Counter(event.kind for event in events)
    return stage.finish(
        prompts=len({event.prompt_id for event in events}),
        answers=len({name for event in events for name in labels.judged_answers(event)}),
        annotators=len(by := {event.annotator for event in events}),
        qualified=len(by),
        ratings=counts["rating"],
        rankings=counts["ranking"],
        comparisons=counts["comparison"],
        pairs=len(chosen),
    )


def _from_people(config: FeedbackConfig, stage: Stage) -> dict[str, Any]:
    """Put the round to people, wait until they are done, and go on with what they said."""
    with Store.open(config.store) as store:
        queue, batch = Queue(store), batch_id(config, stage)
        if not rounds.known(queue, batch):
            policy = Policy.load(config.model)
            candidates = sampled(config, policy, asked(config, policy))
            del policy
            scores = [
                RewardModel.load(path).scores(
                    [p for p, _ in candidates], [[a.text for a in r] for _, r in candidates]
                )
                for path in config.reward_models
            ]
            stage.begin()
            _add(store, config, candidates)
            rounds.put(queue, batch, f"round {config.round}", batch_settings(config), candidates, scores)
        else:
            stage.begin()
        progress = _wait(config, queue, batch)
        events, by = rounds.judged(store, batch)
        exchange.export_preferences(store, stage.folder / "judgements.jsonl", batch=batch)
        chosen = labels.aggregated(store, events, config.studio.aggregate)
        answers = {name for event in events for name in labels.judged_answers(event)}
    if not chosen:
        raise UserError("people found nothing better than anything else, so there is nothing to learn from")
    _learnt_from(stage, chosen)
    counts = Counter(event.kind for event in events)
    return stage.finish(
        prompts=progress.tasks,
        answers=len(answers),
        annotators=len(progress.annotators),
        qualified=len(by),
        ratings=counts["rating"],
        rankings=counts["ranking"],
        comparisons=counts["comparison"],
        pairs=len(chosen),
        batch=batch,
        stopped=progress.reason,
    )


def _learnt_from(stage: Stage, chosen: Sequence[Preference]) -> None:
    """Write the aggregated labels, as pairs and as the verdicts that a reward model reads."""
    pairs = stage.folder / "preferences.jsonl"
    formats.write_preferences(pairs, chosen)
    verdicts.write_verdicts(stage.folder / "verdicts.jsonl", verdicts.read_verdicts(pairs))


def batch_id(config: FeedbackConfig, stage: Stage) -> str:
    """The same settings and inputs give the same batch, so that a killed stage finds it again."""
    shown = config.studio.model_dump(mode="json", exclude={"link", "poll_seconds"})
    identity = {**stage.identity, "config": {**stage.identity["config"], "studio": shown}}
    return f"round-{config.round}-{key(json.dumps(identity, sort_keys=True)):016x}"


def batch_settings(config: FeedbackConfig) -> BatchSettings:
    """What the round's batch asks."""
    given = config.studio
    return BatchSettings(
        question=given.question,
        criteria=given.criteria,
        instructions=given.instructions,
        overlap=config.overlap,
        gold_rate=given.gold_rate,
        lease_seconds=given.lease_seconds,
        round=config.round,
        choice=given.choice,
        seed=config.seed,
        qualified=given.qualified,
        cutoff=config.cutoff,
        stop=Stop(given.judgements, given.agreement, given.at_least, given.budget_seconds),
    )


def _wait(config: FeedbackConfig, queue: Queue, batch: str) -> Progress:
    """Say where people find the questions, then look until their batch is closed."""
    wanted = queue.progress(batch)
    if not wanted.finished:
        terminal.say(
            f"feedback   {wanted.tasks} questions wait for people at {config.studio.link} "
            f"(heedful studio store={config.store}); this goes on by itself when they are done"
        )
    with terminal.progress("people", wanted.wanted) as advance:
        return rounds.wait(
            queue,
            batch,
            every=config.studio.poll_seconds,
            tell=lambda now: advance(now.done, f"{len(now.annotators)} annotators"),
        )


def _add(store: Store, config: FeedbackConfig, candidates: Candidates) -> None:
    store.add_prompts((p for p, _ in candidates), round=config.round)
    sampling = {"temperature": config.temperature, "max_completion_length": config.max_completion_length}
    store.add_answers((a for _, row in candidates for a in row), round=config.round, sampling=sampling)


def _from_judge(config: FeedbackConfig, stage: Stage) -> dict[str, Any]:
    """Have simulated people or a judge function judge the round."""
    assert config.judge is not None
    crew, measured = judges.people(
        config.judge, config.annotators, seed=config.seed, policy=config.model, how=config
    )
    policy = Policy.load(config.model)
    prompts = asked(config, policy)
    with Store.open(config.store) as store:
        candidates = sampled(config, policy, prompts)
        stage.begin()
        _add(store, config, candidates)
        qualified = qualified_names(store, config, crew, candidates)
        working = [a for a in crew if a.name in qualified]
        events: list[records.Event] = []
        with terminal.progress("feedback", len(candidates)) as advance:
            for done_now, judgements in judged(config, working, candidates):
                # The store may hold answers of this round that an earlier run sampled with other settings.
                uuids = [identify(config, j) for j in judgements]
                events += store.submit_many(judgements, uuids=uuids, complete=False)
                advance(done_now)
        exchange.export_preferences(store, stage.folder / "judgements.jsonl", round=config.round)
    messages = {prompt.id: prompt.messages for prompt, _ in candidates}
    texts = {answer.id: answer.text for _, row in candidates for answer in row}
    chosen = list(convert.spelled_out(events, messages, texts))
    formats.write_preferences(stage.folder / "preferences.jsonl", chosen)
    verdicts.write_verdicts(stage.folder / "verdicts.jsonl", verdicts.spelled_out(events, messages, texts))
    counts = Counter(event.kind for event in events)
    return stage.finish(
        prompts=len(candidates),
        answers=sum(len(row) for _, row in candidates),
        annotators=len(crew),
        qualified=len(qualified),
        ratings=counts["rating"],
        rankings=counts["ranking"],
        comparisons=counts["comparison"],
        pairs=len(chosen),
        **measured,
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return (
        f"{result['rankings']} rankings, {result['ratings']} ratings, {result['comparisons']} comparisons by "
        f"{result['qualified']} of {result['annotators']} annotators{judging.line(result)}"
    )


def asked(config: FeedbackConfig, policy: Policy) -> list[Prompt]:
    """The prompts of this round: each round takes them in another order."""
    prompts = formats.read_prompts(config.prompts)
    order = shuffled(len(prompts), key("feedback", config.seed), config.round)
    return policy.fitting([prompts[i] for i in order], config.max_completion_length)[: config.max_prompts]


def sampled(config: FeedbackConfig, sampler: Sampler, prompts: Sequence[Prompt]) -> Candidates:
    """The distinct answers of the sampler to each prompt; a prompt with one distinct answer asks nothing.

    `borrowed` further answers were given to other prompts: to judge them is to say that an answer must fit its
    prompt, without which a reward model likes what is good anywhere ("the story does not say").
    """
    how = Sampling(config.max_completion_length, config.temperature)
    seed = (config.seed, "feedback", config.round)
    with terminal.progress("sample", 1):
        answered = sampler.answer(prompts, how, seed=seed, n=config.answers_per_prompt, slots=config.slots)
    name = f"round-{config.round}"
    found = []
    for number, prompt in enumerate(prompts):
        others = [answered[(number + turn) % len(answered)] for turn in range(1, config.borrowed + 1)]
        said = [
            (t, s.finished) for t, s in zip(answered[number].texts, answered[number].samples, strict=True)
        ]
        finished = dict([*said, *((a.texts[0], a.samples[0].finished) for a in others)])
        answers = [
            Answer(f"{key('answer', config.round, prompt.id, text):016x}", prompt.id, text, name, stopped)
            for text, stopped in finished.items()
            if text
        ]
        if len(answers) > 1:
            found.append((prompt, answers))
    if not found:
        raise UserError(
            "the policy gave the same answer every time, so there is nothing to compare: raise temperature"
        )
    return found


def qualified_names(
    store: Store, config: FeedbackConfig, crew: Sequence[Any], candidates: Candidates
) -> list[str]:
    """Measure every annotator against clear-cut gold pairs and keep those at or above the cut-off."""
    if isinstance(crew[0], FunctionAnnotator):
        store.add_annotators(records.Annotator(a.name, "model", True, "a judge function") for a in crew)
        return [a.name for a in crew]
    store.add_annotators(
        [records.Annotator("gold", "gold"), *(records.Annotator(a.name, "simulated") for a in crew)]
    )
    items = gold_items([p for p, _ in candidates], config.gold_items, gap=config.gold_gap, seed=config.seed)
    store.add_answers(a for item in items for a in (item.first, item.second))
    asked = [item.gold for item in items]
    answers = [a.compare(i.prompt, i.first, i.second, i.gold.criterion) for a in crew for i in items]
    submitted: list[Judgement] = [*asked, *answers]
    store.submit_many(submitted, uuids=[identify(config, j) for j in submitted])
    labels = [(c.prompt_id, c.annotator, sign(c)) for c in answers]
    verdicts = qualify({c.prompt_id: sign(c) for c in asked}, labels, cutoff=config.cutoff)
    for verdict in verdicts:
        found = verdict.agreement
        figures = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
        store.set_qualified(
            str(verdict.annotator), verdict.qualified, reason=verdict.reason, agreement=figures
        )
    names = [str(v.annotator) for v in verdicts if v.qualified]
    if not names:
        why = f"{verdicts[0].annotator} {verdicts[0].reason}" if verdicts else "there are no gold items"
        raise UserError(
            f"no annotator qualified ({why}): raise max_prompts or gold_items, or lower cutoff or gold_gap"
        )
    return names


def sign(comparison: Comparison) -> int:
    """Which answer was chosen: 1 the first, -1 the second, 0 neither."""
    return (comparison.preference > 0) - (comparison.preference < 0)


def judged(
    config: FeedbackConfig, working: Sequence[Any], candidates: Candidates, chunk: int = 100
) -> Iterator[tuple[int, list[Judgement]]]:
    """Each prompt goes to `overlap` annotators in turn: ratings, a ranking, and one comparison with strength."""
    overlap = min(config.overlap, len(working))
    for start in range(0, len(candidates), chunk):
        judgements: list[Judgement] = []
        for number, (prompt, answers) in enumerate(candidates[start : start + chunk], start):
            for turn in range(overlap):
                annotator = working[(number * overlap + turn) % len(working)]
                if not isinstance(annotator, FunctionAnnotator):
                    judgements += [annotator.rate(prompt, a) for a in answers]
                    judgements.append(annotator.compare(prompt, answers[0], answers[1]))
                judgements.append(annotator.rank(prompt, answers))
        yield min(start + chunk, len(candidates)), judgements


def identify(config: FeedbackConfig, judgement: Judgement) -> Any:
    """The same judgement gets the same UUID, so a feedback stage that is killed and run again stores it once."""
    return event_id("feedback", config.seed, config.round, type(judgement).__name__, repr(judgement))
