"""How well panels were read, with an interval over stories: F1 of all items, and without fields that never change.

    python benchmarks/reading.py STEPS TRUTH [--seed 0]

STEPS is what `heedful panel extract` wrote (steps.jsonl), TRUTH the held-out steps of `heedful panel world`.
Intervals are 95 %, by 10,000 bootstrap draws of whole stories.
"""

import argparse
from pathlib import Path

import numpy as np

from heedful.data import files
from heedful.panels import exchange, score
from heedful.panels.exchange import Step

FIXED = ("rules", "goals", "style")


def read(path: Path) -> dict[tuple[str, int], Step]:
    """Steps by story and number."""
    steps = (exchange.step_of(row.data) for row in files.read_rows(path))
    return {(step.story, step.index): step for step in steps}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found, truth = read(given.steps), read(given.truth)
    random = np.random.default_rng(given.seed)
    for name, left_out in (("all", ()), ("without " + ", ".join(FIXED), FIXED)):
        stories: dict[str, score.Hits] = {}
        for place, step in found.items():
            hits = score.compare(step.after.without("plan"), truth[place].after.without("plan"))
            kept = score.overall({field: h for field, h in hits.items() if field not in left_out})
            stories[place[0]] = stories.get(place[0], score.Hits()) + kept
        counts = np.asarray([(h.right, h.found + h.true) for h in stories.values()])
        drawn = counts[random.integers(0, len(counts), (10_000, len(counts)))].sum(1)
        low, high = np.percentile(2 * drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
        right, every = counts.sum(0)
        print(f"{name}: F1 {2 * right / every:.3f} [{low:.3f}, {high:.3f}], {len(counts)} stories")


if __name__ == "__main__":
    main()
