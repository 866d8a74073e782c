"""Judgements -> a reward model: of whole answers, by pairs, rankings or ratings, or of the steps of an answer."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from heedful.data import atomic, chat, solutions, verdicts
from heedful.data.formats import read_prompts
from heedful.data.remembered import remembered
from heedful.engine import benchmark, heldout, heldout_steps, pairs, process_reward, ranks, tuning
from heedful.engine.calibrate import standardise
from heedful.engine.fit import Term
from heedful.engine.policy import Policy
from heedful.engine.precision import dtype
from heedful.engine.process_reward import ProcessRewardModel, Whole
from heedful.engine.reward_model import RewardModel
from heedful.engine.sampling import Sampling
from heedful.engine.stage import Inputs, Stage
from heedful.engine.step_labels import Labels, labelled
from heedful.engine.train import TrainingConfig, train
from heedful.engine.tuning import LoraConfig
from heedful.engine.verdict_trees import learnt_from
from heedful.errors import UserError
from heedful.losses import reward
from heedful.losses.bind import Loss
from heedful.nn import hub
from heedful.nn.likelihood_scorer import LikelihoodScorer
from heedful.nn.scorer_with_writer import ScorerWithWriter
from heedful.tasks.judge import find_judge, judge_code
from heedful.types import Solution

Objective = Literal["listwise", "bradley_terry", "plackett_luce", "pointwise", "process"]
# Settings that an objective has no use for.
_PAIRS = ("margin", "label_smoothing", "ties")
_STEPS = ("step_separator", "step_reduction", "neutral", "rollouts", "step_labels", "max_completion_length")
_WHOLE = ("lm_coef", "head", "benchmark")
OTHERS: dict[str, tuple[str, ...]] = {
    "listwise": _STEPS,
    "bradley_terry": _STEPS,
    "plackett_luce": (*_PAIRS, *_STEPS),
    "pointwise": (*_PAIRS, *_STEPS),
    "process": (*_PAIRS, *_WHOLE),
}


class RewardConfig(LoraConfig, TrainingConfig):
    """`model` gives the body (base, SFT or larger), `data` the judgements; held out by prompt.

    `objective` listwise takes all pairs of a prompt as one batch element, bradley_terry each for itself,
    plackett_luce whole rankings, pointwise ratings, process the labels of steps. `margin` asks for a distance that
    grows with strength, `lm_coef` weighs the log-likelihood of the best answer. `head` is the field's scalar on the
    last token, or `likelihood`: see `nn.likelihood_scorer`. A `judge` and the `prompts` that it knows add the
    agreement with it to the figures; `benchmark` is a file of pairs with a column `subset`. With `rollouts` the
    steps are labelled by how many of so many continuations, written by `model`, the `judge` finds right.
    """

    model: str
    data: Path
    objective: Objective = "listwise"
    margin: Literal["none", "small", "large"] = "none"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    ties: Literal["drop", "half", "rao_kupper"] = "drop"
    lm_coef: float = Field(0.0, ge=0)
    step_separator: str = Field("\n", min_length=1)
    step_reduction: Whole = "product"
    neutral: Literal["positive", "negative"] = "positive"
    rollouts: int = Field(0, ge=0)
    step_labels: Labels = "soft"
    max_completion_length: int = Field(64, gt=0)
    judge: str | None = None
    prompts: Path | None = None
    benchmark: Path | None = None
    head: Literal["last", "likelihood"] = "last"
    heldout_ratio: float = Field(0.1, gt=0, lt=1)
    learning_rate: float = Field(5e-4, gt=0)

    @model_validator(mode="after")
    def _settings_belong_to_the_objective(self) -> Self:
        for name in OTHERS[self.objective]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing with objective={self.objective}: leave it out")
        if self.lora_r and self.lm_coef:
            raise ValueError(
                "lm_coef learns to write, which the adapter of a reward model does not: set one of them to 0"
            )
        if self.ties == "rao_kupper" and (self.margin != "none" or self.label_smoothing):
            raise ValueError("ties=rao_kupper has a margin of its own: leave out margin and label_smoothing")
        if self.objective == "process" and bool(self.rollouts) != bool(self.judge):
            raise ValueError("rollouts and judge go together: the judge says which continuations are right")
        return self


def main(config: RewardConfig) -> dict[str, Any]:
    """Train, calibrate and write the reward model to `output`/model."""
    inputs: Inputs = {
        "model": config.model,
        "data": config.data,
        "prompts": config.prompts,
        "benchmark": config.benchmark,
        "judge_code": judge_code(config.judge),
    }
    stage = Stage("reward", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    learn = of_steps if config.objective == "process" else of_answers
    return learn(config, stage, tokenizer)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    if "step_accuracy" in result:
        return f"held-out steps told right from wrong {result['step_accuracy']['value']:.3f}"
    found = f"held-out accuracy {result['heldout_accuracy']['value']:.3f}"
    if "annotator_agreement" in result:
        found += (
            f"; on the same pairs {result['accuracy_on_the_same_pairs']['value']:.3f}, "
            f"annotators agree {result['annotator_agreement']['value']:.3f}"
        )
    return found


def of_answers(config: RewardConfig, stage: Stage, tokenizer: Any) -> dict[str, Any]:
    """A model that scores whole answers, calibrated to mean 0 and deviation 1."""
    assert config.objective != "process"
    known, unseen = pairs.split(verdicts.read_verdicts(config.data), config.heldout_ratio, config.seed)
    with remembered(tokenizer, stage.content("data")) as reader:
        found = learnt_from(reader, known, config.max_length, config.objective, ties=config.ties != "drop")
        told = [p for p in verdicts.preferences(unseen) if pairs.fits(reader, p, config.max_length)]
    if not told:
        raise UserError(
            "no held-out verdict that fits into max_length tells two answers apart: raise max_length or heldout_ratio"
        )
    judge = find_judge(config.judge) if config.judge else None
    prompts = read_prompts(config.prompts) if config.prompts else []
    suite = benchmark.read_suite(config.benchmark) if config.benchmark else None
    body = hub.load_model(config.model, dtype=dtype(config.precision))
    scorer = (
        LikelihoodScorer(body, seed=config.seed)
        if config.head == "likelihood"
        else hub.scorer_from(body, seed=config.seed)
    )
    tuning.adapt_scorer(scorer, config)
    writes = config.lm_coef and not isinstance(scorer, LikelihoodScorer)
    trained = ScorerWithWriter(body, scorer) if writes else scorer
    watch: dict[str, Loss] = {"accuracy": reward.accuracy} if found.trees[0].pairs else {}
    for _ in train(stage, trained, found.trees, terms(config), config, watch=watch):
        pass
    standardise(scorer, found.trees)
    model = RewardModel(scorer, tokenizer)
    figures = heldout.figures(heldout.judged(model, told, judge, prompts))
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, scorer, tokenizer)
    return stage.finish(
        prompts=len({v.messages for v in known}),
        pairs=sum(len(t.pairs) for t in found.trees),
        too_long=found.too_long,
        heldout_prompts=len({p.messages for p in told}),
        score_mean=scorer.config.score_mean,
        score_gain=scorer.config.score_gain,
        **figures,
        **({"benchmark": benchmark.on_suite(model, suite)} if suite else {}),
    )


def terms(config: RewardConfig) -> list[Term]:
    """What is minimised: the objective, and the negative log-likelihood of the best answer."""
    losses: dict[str, Loss] = {
        "listwise": pairwise(config),
        "bradley_terry": pairwise(config),
        "plackett_luce": reward.plackett_luce,
        "pointwise": reward.pointwise,
    }
    regulariser = [Term(reward.imitation, weight=config.lm_coef)] if config.lm_coef else []
    return [Term(losses[config.objective]), *regulariser]


def pairwise(config: RewardConfig) -> Loss:
    """The loss of a pair; the plain one where nothing is known of it but who was chosen."""
    if config.ties == "rao_kupper":
        return reward.rao_kupper
    margin = reward.STRENGTH_STEP.get(config.margin, 0.0)
    return partial(reward.graded_bradley_terry, margin=margin, label_smoothing=config.label_smoothing)


def of_steps(config: RewardConfig, stage: Stage, tokenizer: Any) -> dict[str, Any]:
    """A model that judges the steps of an answer where they end."""
    given = solutions.read_solutions(config.data)
    if config.rollouts:
        given = by_rollouts(config, given)
        if ranks.first():
            solutions.write_solutions(stage.folder / "solutions.jsonl", given)
    known, unseen = pairs.split(given, config.heldout_ratio, config.seed)
    with remembered(tokenizer, stage.content("data")) as reader:
        learnt, tested = (
            process_reward.solution_trees(
                reader,
                part,
                config.max_length,
                separator=config.step_separator,
                neutral=float(config.neutral == "positive"),
            )
            for part in (known, unseen)
        )
    scorer = hub.scorer_from(hub.load_model(config.model, dtype=dtype(config.precision)), seed=config.seed)
    tuning.adapt_scorer(scorer, config)
    process_reward.describe(scorer.config, separator=config.step_separator, how=config.step_reduction)
    watch: dict[str, Loss] = {"accuracy": reward.step_accuracy}
    for _ in train(stage, scorer, learnt.trees, reward.process, config, watch=watch):
        pass
    model = ProcessRewardModel(scorer, tokenizer, separator=config.step_separator, how=config.step_reduction)
    figures = heldout_steps.figures(model, tested.trees)
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, scorer, tokenizer)
    return stage.finish(
        prompts=len(learnt.trees),
        solutions=sum(len(t.branches) for t in learnt.trees),
        too_long=learnt.too_long,
        heldout_prompts=len(tested.trees),
        **figures,
    )


def by_rollouts(config: RewardConfig, given: Sequence[Solution]) -> list[Solution]:
    """The solutions with labels from continuations, the same ones whenever the stage is run."""
    assert config.judge is not None
    prompts = read_prompts(config.prompts) if config.prompts else []
    return labelled(
        Policy.load(config.model),
        given,
        find_judge(config.judge),
        Sampling(config.max_completion_length),
        seed=config.seed,
        rollouts=config.rollouts,
        labels=config.step_labels,
        separator=config.step_separator,
        prompts={p.messages: p for p in prompts},
    )
