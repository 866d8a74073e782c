"""Best of n, its rounds, and reranking: who is chosen, what is pooled, and that a killed stage goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.toy_rl import PROMPTS, Share, rollouts
from heedful.data.formats import read_conversations
from heedful.engine.process_reward import ProcessRewardModel, describe
from heedful.engine.rerank import Reranked
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.nn import hub
from heedful.stages import best_of, rl
from heedful.types import Message, Prompt
from stages import saved


def config(folder: Path, name: str = "out", **values: Any) -> best_of.BestOfConfig:
    if not (folder / "policy").is_dir():
        saved.models(folder)
        saved.prompts(folder)
    small = {"prompts_per_round": 6, "num_generations": 4, "max_completion_length": 8, "save_every": 0.0}
    return best_of.BestOfConfig(
        **{
            "output": folder / name,
            "model": str(folder / "policy"),
            "reward": str(folder / "reward"),
            "prompts": folder / "prompts.jsonl",
            **small,
            **values,
        }
    )


def rows(made: best_of.BestOfConfig, number: int) -> list[dict[str, Any]]:
    return best_of.read_rows(made.output / f"round-{number}" / "answers.jsonl")


def ended(row: dict[str, Any]) -> dict[str, float]:
    return {t: s for t, s, f in zip(row["answers"], row["scores"], row["finished"], strict=True) if f and t}


def test_without_rounds_the_best_answers_are_written_and_counted(tmp_path: Path) -> None:
    made = config(tmp_path)
    result = best_of.main(made)
    best = read_conversations(made.output / "best.jsonl")
    by_prompt = {r["messages"][-1]["content"]: ended(r) for r in rows(made, 1)}
    assert not (made.output / "model").exists()
    assert len(best) == sum(bool(found) for found in by_prompt.values()) > 1
    for dialogue in best:
        found = by_prompt[dialogue.messages[-2].content]
        assert found[dialogue.messages[-1].content] == max(found.values())
    one, two, four = result["best_of"]
    assert (one["n"], two["n"], four["n"]) == (1, 2, 4)
    scores = np.asarray([r["scores"] for r in rows(made, 1)])
    assert one["reward"]["value"] == pytest.approx(scores.mean())
    assert four["reward"]["value"] == pytest.approx(scores.max(1).mean())
    assert one["kl_bound"] == 0 < two["kl_bound"] < four["kl_bound"]
    assert best_of.line(result).startswith("24 answers")


def test_rounds_pool_the_best_of_all_rounds_before(tmp_path: Path) -> None:
    pooled, newest = (
        config(tmp_path, name, rounds=2, prompts_per_round=18, pool=name == "pooled")
        for name in ("pooled", "newest")
    )
    for made in (pooled, newest):
        best_of.main(made)
        assert saved.weights(made.output / "model") != saved.weights(tmp_path / "policy")
    assert [r["scores"] for r in rows(pooled, 1)] == [r["scores"] for r in rows(newest, 1)]
    for made in (pooled, newest):
        first, second = ({r["id"]: ended(r) for r in rows(made, n)} for n in (1, 2))
        assert first.keys() == second.keys()
        best = {}
        for name in first:
            known = {**second[name], **first[name]} if made is pooled else second[name]
            if known:
                best[name] = max(known.values())
        written = [float(d.source.split()[-1]) for d in read_conversations(made.output / "best.jsonl")]
        assert sorted(written) == pytest.approx(sorted(best.values()), abs=1e-3)


def test_each_round_starts_where_it_is_told_to(tmp_path: Path) -> None:
    weights = []
    for start in ("start", "previous"):
        made = config(tmp_path, start, rounds=2, start_from=start, pool=False)
        best_of.main(made)
        first = saved.weights(made.output / "round-1" / "tuned" / "model")
        weights.append((first, saved.weights(made.output / "model")))
    assert weights[0][0] == weights[1][0]
    assert weights[0][1] != weights[1][1]


def test_a_threshold_keeps_what_is_good_enough_and_says_when_nothing_is(tmp_path: Path) -> None:
    made = config(tmp_path, keep=4)
    best_of.main(made)
    scores = sorted(s for r in rows(made, 1) for s in ended(r).values())
    middle = scores[len(scores) // 2]
    some = config(tmp_path, "some", keep=4, min_reward=middle)
    best_of.main(some)
    kept = [float(d.source.split()[-1]) for d in read_conversations(some.output / "best.jsonl")]
    assert min(kept) >= middle - 1e-3
    assert len(kept) < len(read_conversations(made.output / "best.jsonl"))
    with pytest.raises(UserError, match="lower min_reward"):
        best_of.main(config(tmp_path, "none", min_reward=1e9))


def test_killed_between_rounds_and_started_again_is_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = config(tmp_path, "whole", rounds=2), config(tmp_path, "broken", rounds=2)
    best_of.main(whole)
    drawn = best_of.drawn

    def dies(made: Any, number: int, *args: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return drawn(made, number, *args)

    with monkeypatch.context() as patch:
        patch.setattr(best_of, "drawn", dies)
        with pytest.raises(KeyboardInterrupt):
            best_of.main(broken)
    trained = best_of.train
    calls: list[int] = []
    monkeypatch.setattr(best_of, "train", lambda *a, **k: calls.append(1) or trained(*a, **k))
    best_of.main(broken)
    assert len(calls) == 1  # the first round's training is not done again
    assert saved.weights(broken.output / "model") == saved.weights(whole.output / "model")


def test_more_cannot_be_kept_than_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="keep is larger"):
        config(tmp_path, keep=5)


def test_reranking_gives_the_best_of_what_the_policy_draws() -> None:
    policy, reward, how = rollouts().policy, Share(), Sampling(8)
    best = Reranked(policy, reward, 4).answer(PROMPTS[:6], how, seed=(1,), n=2)
    drawn = policy.answer(PROMPTS[:6], how, seed=(1,), n=8)
    for found, whole in zip(best, drawn, strict=True):
        scores = sorted((reward.of(t) for t in whole.texts), reverse=True)
        assert [reward.of(t) for t in found.texts] == scores[:2]
        ids = [s.ids.tolist() for s in whole.samples]
        assert all(s.ids.tolist() in ids for s in found.samples)


def step_judge(folder: Path) -> ProcessRewardModel:
    """The reward model on disk as a judge of steps: every letter is one, and the worst of them is the score."""
    model = hub.load_scorer(folder / "reward")
    describe(model.config, separator=" ", how="minimum")
    hub.save_model(folder / "steps", model, hub.load_tokenizer(folder / "reward"))
    return ProcessRewardModel.load(folder / "steps")


def test_expert_iteration_with_a_process_reward_learns_from_what_it_likes_best(tmp_path: Path) -> None:
    saved.models(tmp_path)
    saved.prompts(tmp_path)
    judge = step_judge(tmp_path)
    improve = {"rounds": 2, "pool": False, "start_from": "previous", "keep": 2}
    made = config(tmp_path, reward=str(tmp_path / "steps"), **improve)
    best_of.main(made)
    best: dict[str, list[float]] = {}
    lengths: list[int] = []
    for row in rows(made, 2):
        prompt = Prompt("", tuple(Message(m["role"], m["content"]) for m in row["messages"]))
        ((*steps,),) = judge.steps([prompt], [row["answers"]])
        expected = [min((s.probability for s in one), default=0.0) for one in steps]
        assert row["scores"] == pytest.approx(expected, abs=1e-5)
        lengths += [len(one) for one in steps]
        best[prompt.messages[-1].content] = sorted(ended(row).values(), reverse=True)[:2]
    assert max(lengths) > 1
    kept: dict[str, list[float]] = {}
    for dialogue in read_conversations(made.output / "best.jsonl"):
        kept.setdefault(dialogue.messages[-2].content, []).append(float(dialogue.source.split()[-1]))
    assert kept == {asked: pytest.approx(scores, abs=1e-3) for asked, scores in best.items() if scores}
    after = [saved.weights(made.output / f"round-{n}" / "tuned" / "model") for n in (1, 2)]
    assert len({saved.weights(tmp_path / "policy"), *after}) == 3


def test_reranking_by_a_process_reward_gives_the_answer_whose_steps_are_best(tmp_path: Path) -> None:
    saved.models(tmp_path)
    judge, policy, how = step_judge(tmp_path), rollouts().policy, Sampling(8)
    best = Reranked(policy, judge, 4).answer(PROMPTS[:6], how, seed=(1,))
    drawn = policy.answer(PROMPTS[:6], how, seed=(1,), n=4)
    for prompt, found, whole in zip(PROMPTS, best, drawn, strict=False):
        (steps,) = judge.steps([prompt], [whole.texts])
        worst = [min((s.probability for s in one), default=0.0) for one in steps]
        assert found.texts == (whole.texts[int(np.argmax(worst))],)


def test_ppo_goes_on_from_where_rejection_sampling_came_to(tmp_path: Path) -> None:
    """The policy of the last round is where PPO starts, and what its KL is measured to."""
    made = config(tmp_path, rounds=2)
    best_of.main(made)
    small: dict[str, Any] = {"iterations": 2, "prompts_per_step": 4, "max_completion_length": 6}
    after = rl.RlConfig(
        output=tmp_path / "ppo",
        model=str(made.output / "model"),
        reward=made.reward,
        prompts=made.prompts,
        algorithm="ppo_clip",
        **small,
    )
    rl.main(after)
    first = json.loads((after.output / "metrics.jsonl").read_text().splitlines()[0])
    assert abs(first["kl"]) < 1e-4
    assert first["sampling/logp_gap"] < 1e-4
    assert len({saved.weights(f / "model") for f in (made.output, after.output)}) == 2
    from_start = after.model_copy(update={"model": made.model, "output": tmp_path / "other"})
    rl.main(from_start)
    assert saved.weights(from_start.output / "model") != saved.weights(after.output / "model")


def test_answers_are_readable_lines(tmp_path: Path) -> None:
    made = config(tmp_path)
    best_of.main(made)
    first = json.loads((made.output / "round-1" / "answers.jsonl").read_text().splitlines()[0])
    assert first.keys() == {"id", "messages", "answers", "finished", "scores"}
