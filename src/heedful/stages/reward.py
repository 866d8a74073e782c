"""Judgements -> a reward model: Bradley-Terry over all comparisons of a prompt as one batch element."""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from heedful.data import atomic, chat
from heedful.data.formats import read_preferences, read_prompts
from heedful.engine import heldout, pairs
from heedful.engine.batch import Tree
from heedful.engine.pairs import fits
from heedful.engine.precision import dtype
from heedful.engine.reward_model import RewardModel
from heedful.engine.score import sequence_columns
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig, train
from heedful.errors import UserError
from heedful.losses.reward import accuracy, bradley_terry
from heedful.nn import hub
from heedful.nn.likelihood_scorer import LikelihoodScorer
from heedful.tasks.judge import find_judge, judge_code


class RewardConfig(TrainingConfig):
    """`model` gives the body (base, SFT or larger), `data` the preferences; held out by prompt.

    `head` is the field's scalar on the last token, or `likelihood`: see `nn.likelihood_scorer`.
    A `judge` and the `prompts` that it knows add the agreement with it to the figures.
    """

    model: str
    data: Path
    judge: str | None = None
    prompts: Path | None = None
    head: Literal["last", "likelihood"] = "last"
    heldout_ratio: float = Field(0.1, gt=0, lt=1)
    learning_rate: float = Field(5e-4, gt=0)


def main(config: RewardConfig) -> dict[str, Any]:
    """Train, calibrate to mean 0 and deviation 1, and write the reward model to `output`/model."""
    inputs: Inputs = {"model": config.model, "data": config.data, "prompts": config.prompts}
    stage = Stage("reward", config, {**inputs, "judge_code": judge_code(config.judge)})
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    body = hub.load_model(config.model, dtype=dtype(config.precision))
    scorer = (
        LikelihoodScorer(body, seed=config.seed)
        if config.head == "likelihood"
        else hub.scorer_from(body, seed=config.seed)
    )
    known, unseen = pairs.split(read_preferences(config.data), config.heldout_ratio, config.seed)
    learnt = pairs.compared(tokenizer, known, config.max_length)
    unseen = [p for p in unseen if fits(tokenizer, p, config.max_length)]
    if not unseen:
        raise UserError(f"all held-out preferences are longer than max_length={config.max_length}: raise it")
    judge = find_judge(config.judge) if config.judge else None
    prompts = read_prompts(config.prompts) if config.prompts else []
    for _ in train(stage, scorer, learnt.trees, bradley_terry, config, watch={"accuracy": accuracy}):
        pass
    standardise(scorer, learnt.trees)
    table = heldout.judged(RewardModel(scorer, tokenizer), unseen, judge, prompts)
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, scorer, tokenizer)
    return stage.finish(
        prompts=len(learnt.trees),
        pairs=sum(len(t.pairs) for t in learnt.trees),
        too_long=learnt.too_long,
        heldout_prompts=len({p.messages for p in unseen}),
        **heldout.figures(table),
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    found = f"held-out accuracy {result['heldout_accuracy']['value']:.3f}"
    if "annotator_agreement" in result:
        found += (
            f"; on the same pairs {result['accuracy_on_the_same_pairs']['value']:.3f}, "
            f"annotators agree {result['annotator_agreement']['value']:.3f}"
        )
    return found


def standardise(scorer: Any, trees: list[Tree]) -> None:
    """Fold gain and bias into the model so that the scores of the training answers have mean 0, deviation 1.

    The head has no bias: the mean is kept in the configuration as `score_mean` and subtracted by those who score.
    """
    scores = flat_scores(scorer, trees)
    gain = 1.0 / max(float(scores.std()), 1e-6)
    with torch.no_grad():
        for part in scorer.head if isinstance(scorer, LikelihoodScorer) else [scorer.score.weight]:
            part.mul_(gain)
    scorer.config.score_mean = getattr(scorer.config, "score_mean", 0.0) * gain + float(scores.mean()) * gain


def flat_scores(scorer: Any, trees: list[Tree]) -> torch.Tensor:
    """Scores of every sequence of every tree, in order."""
    return torch.stack([s for tree in sequence_columns(scorer, trees, "score") for s in tree])
