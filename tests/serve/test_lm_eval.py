"""lm-evaluation-harness over `local-completions`: its log-likelihoods are a direct run's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heedful.nn import hub
from serve import live

PROGRAM = """
import json, os, sys
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
url, tokenizer, pairs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = LocalCompletionsAPI(base_url=url + "/completions", model="stories", tokenizer=tokenizer,
                            tokenizer_backend="huggingface", batch_size=4, max_length=256)
asked = [Instance("loglikelihood", {}, tuple(p), i) for i, p in enumerate(pairs)]
print("FOUND" + json.dumps(model.loglikelihood(asked)))
"""


@pytest.mark.slow
@pytest.mark.shared
def test_log_likelihoods_are_a_direct_runs(shared: Path) -> None:
    for name in ("lm_eval", "tenacity", "aiohttp"):
        pytest.importorskip(name, reason="the clients' tests need pip install 'heedful[clients]'")
    source = shared / "models" / "stories260K"
    pairs = [
        ("Once upon a time, there was a little", " girl named Lily."),
        ("One day, a cat saw a", " big dog."),
        ("Tom liked to", " play"),
        ("The sun was", " very purple and quick."),
        ('She said, "I am', ' sorry."'),
    ]
    with live.serving(model=str(source), name="stories", max_completion_length=64) as server:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, server.v1, str(source), json.dumps(pairs)],
            capture_output=True,
            text=True,
            env={**os.environ, "OPENAI_API_KEY": live.KEY},
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.partition("FOUND")[2].splitlines()[0])
    model, tokenizer = hub.load_model(source), hub.load_tokenizer(source)
    greedy_once = False
    for (context, text), (logp, greedy) in zip(pairs, found, strict=True):
        ids = tokenizer.encode(context + text, add_special_tokens=False)
        start = len(tokenizer.encode(context, add_special_tokens=False))
        with torch.no_grad():
            table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(float(table[i - 1, ids[i]]) for i in range(start, len(ids)))
        assert logp == pytest.approx(expected, abs=1e-4)
        assert greedy == all(int(table[i - 1].argmax()) == ids[i] for i in range(start, len(ids)))
        greedy_once |= greedy
    assert greedy_once, "no continuation is greedy, so the flag was not tested"
