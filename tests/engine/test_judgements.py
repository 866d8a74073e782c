"""Judgements as the trees that a loss asks for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from engine.toy_rl import LETTERS, WORDS, tokenizer
from heedful.data import chat
from heedful.data.rated import read_rated
from heedful.engine import judgements, pairs, step_pairs, unpaired
from heedful.engine.batch import Tree, microbatches
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import use_packed_attention
from heedful.errors import UserError
from heedful.losses.listwise import contrast
from heedful.losses.unpaired import kto
from heedful.types import Message, Preference, Rated, Solution


def words() -> Any:
    made = tokenizer()
    chat.ensure_chat_template(made)
    return made


def model() -> Any:
    config = tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(WORDS)})
    made = tiny.model(config)
    use_packed_attention(made)
    return made


def text(tok: Any, tree: Tree) -> list[str]:
    return [tok.decode(b.ids) for b in tree.branches]


def preferred(prompt: str, chosen: str, rejected: str) -> Preference:
    return Preference((Message("user", prompt),), chosen, rejected)


def test_ranks_follow_comparisons_won_less_lost() -> None:
    given = [
        preferred("a", "b", "c"),
        preferred("a", "b", "d"),
        preferred("a", "c", "e"),
        preferred("a", "d", "e"),
    ]
    (tree,) = pairs.ranked(pairs.compared(words(), given, 100).trees)
    assert text(words(), tree) == ["b </s>", "c </s>", "d </s>", "e </s>"] or len(tree.branches) == 4
    assert tree.labels["rank"] == [0, 1, 1, 2]
    assert pairs.ranked([tree])[0] is tree


def test_borrowed_answers_are_the_best_of_other_prompts_and_stand_below() -> None:
    given = [preferred(p, f"{p} g", f"{p} h") for p in "abcd"]
    trees = pairs.compared(words(), given, 100).trees
    found = pairs.borrow(trees, 2, seed=0)
    best = [t.branches[0].ids.tobytes() for t in trees]
    for number, tree in enumerate(found):
        own, strangers = tree.branches[:2], tree.branches[2:]
        assert [b.ids.tobytes() for b in own] == [b.ids.tobytes() for b in trees[number].branches]
        assert len(strangers) == 2
        assert all(s.ids.tobytes() in best and s.ids.tobytes() != best[number] for s in strangers)
        assert tree.labels["rank"] == [0, 1, 2, 2]
        assert [(p.chosen, p.rejected) for p in tree.pairs] == [(0, 1), (0, 2), (0, 3)]
        assert sum(p.weight for p in tree.pairs) == pytest.approx(1)
    assert pairs.borrow(trees, 0, seed=0) == trees


def test_an_answer_that_fits_every_prompt_gains_nothing_by_contrast() -> None:
    """With the same answer everywhere there is nothing to borrow, so nothing is learnt."""
    given = [preferred(p, "g", "h") for p in "abcd"]
    found = pairs.borrow(pairs.compared(words(), given, 100).trees, 2, seed=0)
    assert all(len(t.branches) == 2 for t in found)
    logp = torch.tensor([[-1.0, -1.0, -1.0]], requires_grad=True)
    ranks, here = torch.tensor([[0.0, 1.0, 1.0]]), torch.ones(1, 3)
    contrast(logp, torch.zeros(1, 3), ranks, here, beta=1.0).sum().backward()
    assert logp.grad is not None
    torch.testing.assert_close(logp.grad, torch.tensor([[-2 / 3, 1 / 3, 1 / 3]]))


def rated() -> list[Rated]:
    return [
        Rated((Message("user", p),), answer, rating)
        for p in LETTERS[:4]
        for answer, rating in ((f"{p} a", 1.0), (f"{p} b b", 0.0), ("c", 0.5))
    ]


def test_the_baseline_is_the_mean_log_ratio_of_answers_to_other_prompts() -> None:
    tok, policy = words(), model()
    found = unpaired.labelled(tok, rated(), 100, seed=0)
    assert [t.labels["label"] for t in found.trees] == [[1, 0]] * 4  # half won is neither
    own = [t.branches[0].ids.tobytes() for t in found.trees]
    other = [t.branches[0].ids.tobytes() for t in found.mismatched]
    assert sorted(own) == sorted(other)
    assert all(a != b for a, b in zip(own, other, strict=True))
    mismatched = pairs.with_reference(policy, found.mismatched)
    trees = unpaired.with_baseline(policy, found.trees, mismatched)
    assert trees[0].labels["baseline"] == pytest.approx([0, 0], abs=1e-5)
    with torch.no_grad():
        policy.lm_head.weight.mul_(1.5)
    trees = unpaired.with_baseline(policy, found.trees[:2], mismatched[:2])
    policy.set_attn_implementation("eager")
    ratios = []
    for tree in mismatched[:2]:
        for node in tree.branches:
            ids = torch.from_numpy(np.concatenate([tree.prompt.ids, node.ids]))
            logp = policy(ids[None], use_cache=False).logits[0].log_softmax(-1)[len(tree.prompt.ids) - 1 : -1]
            of = logp.gather(-1, torch.from_numpy(node.ids)[:, None])[:, 0]
            ratios.append(float(of.sum().detach() - node.columns["ref_logp"].sum()))
    assert trees[0].labels["baseline"] == trees[1].labels["baseline"]
    assert trees[0].labels["baseline"] == pytest.approx([np.mean(ratios)] * 2, rel=1e-4)


def test_any_split_of_a_batch_gives_ktos_step() -> None:
    tok = words()
    found = unpaired.labelled(tok, rated(), 100, seed=0)
    steps = []
    for budget in (max(t.size for t in found.trees), 1000):
        policy = model()
        trees = pairs.with_reference(policy, found.trees)
        mismatched = pairs.with_reference(policy, found.mismatched)
        with torch.no_grad():
            policy.lm_head.weight.mul_(1.5)
        batch = microbatches(unpaired.with_baseline(policy, trees, mismatched), budget)
        step = next(
            fit(policy, [batch], [Term(kto)], Optimizer(policy, learning_rate=1e-2), max_grad_norm=1e9)
        )
        steps.append((len(batch), step.loss, step.grad_norm))
    assert steps[0][0] > steps[1][0]
    assert steps[0][1:] == pytest.approx(steps[1][1:], rel=1e-5)


def solution(steps: str, *labels: int | None) -> Solution:
    return Solution((Message("user", "a"),), tuple(steps.split()), labels)


def test_steps_are_compared_where_answers_part() -> None:
    given = [solution("b c d", 1, 1, 1), solution("b c e", 1, 1, -1), solution("b f g", 1, -1, 1)]
    tok = words()
    found = step_pairs.compared_steps(tok, given, 100, separator=" ")
    shown = [
        (tok.decode(t.prompt.ids)[-3:].strip(), [tok.decode(b.ids) for b in t.branches]) for t in found.trees
    ]
    assert [(p[-1], [b.strip() for b in branches]) for p, branches in shown] == [
        ("b", ["c", "f"]),
        ("c", ["d", "e"]),
    ]
    assert all([(p.chosen, p.rejected) for p in t.pairs] == [(0, 1)] for t in found.trees)
    # No end is trained: the answer goes on.
    assert all(tok.eos_token_id not in b.ids for t in found.trees for b in t.branches)


def test_a_disputed_step_and_what_follows_a_wrong_one_teach_nothing() -> None:
    found = step_pairs.next_steps([solution("b c", 1, 1), solution("b d", -1, 1), solution("e", 0)])
    assert found == {
        ((Message("user", "a"),), ()): {"b": 0, "e": 0},
        ((Message("user", "a"),), ("b",)): {"c": 1},
    }
    with pytest.raises(UserError, match="share their first steps"):
        step_pairs.compared_steps(words(), [solution("b c", 1, 1)], 100, separator=" ")


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_ratings_come_from_labels_marks_or_comparisons(tmp_path: Path) -> None:
    kto_rows = [
        {"prompt": "p", "completion": "x", "label": True},
        {"prompt": "p", "completion": "y", "label": False},
    ]
    assert [r.rating for r in read_rated(lines(tmp_path / "kto.jsonl", *kto_rows))] == [1, 0]
    marked = {
        "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}],
        "helpful": 4.5,
    }
    assert read_rated(lines(tmp_path / "m.jsonl", marked), column="helpful")[0].rating == 4.5
    with pytest.raises(UserError, match=r"m.jsonl, line 1 does not say how good its answer is"):
        read_rated(tmp_path / "m.jsonl")
    ranked = {"instruction": "p", "output": ["x", "y", "z"]}
    again = {"instruction": "p", "output": ["z", "x"]}
    found = {r.answer: r.rating for r in read_rated(lines(tmp_path / "r.jsonl", ranked, again))}
    assert found == pytest.approx({"x": 2 / 3, "y": 1 / 2, "z": 1 / 3})


def test_each_kind_of_loss_reads_what_it_needs(tmp_path: Path) -> None:
    rows = [{"prompt": p, "chosen": "x", "rejected": "y"} for p in "abcdef"]
    data = lines(tmp_path / "p.jsonl", *rows)
    assert all(isinstance(r, Rated) for r in judgements.read(kto, data, 0.3, 0)[0])
    assert all(isinstance(r, Preference) for r in judgements.read(contrast, data, 0.3, 0)[0])
    steps = [{"prompt": p, "completions": ["b", "c"], "labels": [True, False]} for p in "abcdef"]
    assert all(
        isinstance(r, Solution)
        for r in judgements.read(contrast, lines(tmp_path / "s.jsonl", *steps), 0.3, 0)[0]
    )
