"""How a process reward model does on labelled steps that it has not seen."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from heedful.engine.batch import Tree
from heedful.engine.heldout import accurate
from heedful.engine.process_reward import ProcessRewardModel, whole
from heedful.engine.score import sequence_columns
from heedful.stats import calibration
from heedful.stats.estimate import Estimate


def figures(model: ProcessRewardModel, trees: Sequence[Tree]) -> dict[str, Any]:
    """Accuracy, discrimination and calibration of the steps, and whether whole scores part right from wrong.

    A label above one half is right. A solution is right if all its labelled steps are. Intervals take a prompt as
    one draw, those of the areas under the curve a step or a solution.
    """
    budget = max([model.token_budget, *(t.size for t in trees)])
    found = sequence_columns(model.model, trees, "step_score", token_budget=budget)
    score, label, prompt = [], [], []
    wholes, all_right = [], []
    for number, (tree, rows) in enumerate(zip(trees, found, strict=True)):
        for node, row in zip(tree.branches, rows, strict=True):
            told = node.columns["step_label"]
            score += row.tolist()
            label += told.tolist()
            prompt += [number] * len(told)
            wholes.append(whole(torch.sigmoid(row).tolist(), model.how))
            all_right.append(bool((told > 0.5).all()))
    r, y, prompts = np.asarray(score), np.asarray(label), np.asarray(prompt)
    probability, right = 1 / (1 + np.exp(-r)), y > 0.5
    return {
        "heldout_steps": len(r),
        "right_steps": float(right.mean()),
        "heldout_loss": float((np.logaddexp(0, -r) * y + np.logaddexp(0, r) * (1 - y)).mean()),
        "step_accuracy": accurate(np.where(right, r, -r), prompts),
        "step_auc": _shown(calibration.auc(r, right)),
        "solution_auc": _shown(calibration.auc(wholes, all_right)),
        "calibration_error": calibration.expected_calibration_error(probability, y).value,
        "calibration": [dataclasses.asdict(b) for b in calibration.calibration_curve(probability, y)],
    }


def _shown(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
