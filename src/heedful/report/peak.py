"""Whether a judge's marks rose and fell again while RL went on, from what RL left in metrics.jsonl."""

from collections.abc import Iterator, Sequence

import numpy as np

from heedful.report import series
from heedful.report.run import Row

PARTS = 10  # stretches of iterations that are compared; with fewer than two iterations each nothing is said


def figures(rows: Sequence[Row]) -> Iterator[tuple[str, dict[str, float | int | str | None]]]:
    """The judge's mean mark in its best stretch of RL and in the last, with the reward in both.

    Intervals are from the scatter of neighbouring iterations, whose answers are drawn independently.
    """
    judged = [row for row in series.iterations(rows) if "judge/mean" in row and "reward" in row]
    length = len(judged) // PARTS
    if length < 2:
        return
    table = np.asarray([[row["step"], row["judge/mean"], row["reward"]] for row in judged])
    means = table[-PARTS * length :].reshape(PARTS, length, 3).mean(1)
    error = float((np.diff(table[:, 1]) ** 2).mean() / 2 / length) ** 0.5
    for name, (place, mark, reward) in (("best", means[means[:, 1].argmax()]), ("last", means[-1])):
        about = {"low": mark - 1.96 * error, "high": mark + 1.96 * error, "n": length, "unit": "score"}
        yield f"rl/judge_{name}", {"value": mark, **about}
        alone = {"low": None, "high": None, "n": length}
        yield f"rl/reward_{name}", {"value": reward, **alone, "unit": "score"}
        yield f"rl/iteration_{name}", {"value": place, **alone, "unit": "iteration"}
