"""What it costs that a reward server is killed: policy, reward model and learner as three processes over loopback.

    python benchmarks/away.py [--repeats 3] [--seconds 10] [--steps 30]

In turn undisturbed and with the server killed by SIGKILL and started anew that many seconds later, after one
undisturbed run that is not counted: the first one reads everything from disk. The models are tiny and random: what is
measured is waiting. Prints a line a run, and the seconds lost with a 95 % interval (Student's, over pairs).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.remove(str(Path(__file__).parent))  # its serve.py would hide the tests' folder of that name
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from serve import live, three_processes


def main() -> None:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--seconds", type=float, default=10.0)
    words.add_argument("--steps", type=int, default=30)
    given = words.parse_args()
    lost = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        models = {"tiny": live.save(root / "tiny"), "judge": live.save(root / "judge", scorer=True, seed=2)}
        for number in range(given.repeats + 1):
            seconds = []
            for away in (0.0, given.seconds) if number else (0.0,):
                folder = root / f"{number}-{away:g}"
                folder.mkdir()
                found = three_processes.run(models, folder, steps=given.steps, away=away)
                seconds.append(found.seconds)
                print(
                    f"pair {number}: {len(found.rows)} steps in {found.seconds:.1f} s, "
                    f"{found.outage:.1f} s without a reward server",
                    flush=True,
                )
            if number:
                lost.append(seconds[1] - seconds[0])
    half = stats.t.ppf(0.975, len(lost) - 1) * np.std(lost, ddof=1) / len(lost) ** 0.5
    print(f"lost {np.mean(lost):.1f} s [{np.mean(lost) - half:.1f}, {np.mean(lost) + half:.1f}]")


if __name__ == "__main__":
    main()
