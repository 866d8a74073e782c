"""Panel training: what is trained, that sharing changes no loss, and what the measures count."""

import dataclasses

import numpy as np
import pytest

from engine.panel_kit import STEPS, TOKENIZER, policy
from heedful.data import chat
from heedful.engine import panel_fit, panel_gains, panel_trees
from heedful.engine.batch import Tree
from heedful.engine.panel_measure import measured
from heedful.engine.panel_trees import Shares, trees
from heedful.engine.train import means
from heedful.losses.supervised import next_token
from heedful.panels import requests

ALL = Shares(write=1, update=1, plan=1)


def trained(tree: Tree) -> list[str]:
    return [str(TOKENIZER.decode(node.ids[node.trained])) for node in tree.branches]


def test_a_step_trains_on_its_passage_its_patch_and_its_plan() -> None:
    step = STEPS[1]
    found, too_long = trees(TOKENIZER, [step], ALL, max_length=2000)
    assert too_long == 0
    eos = TOKENIZER.eos_token
    assert sorted(t for tree in found for t in trained(tree)) == sorted(
        [
            step.passage + eos + requests.patch_of(step.before, step.after) + eos,
            requests.plan_of(step.after) + eos,
        ]
    )


def test_the_control_goes_on_from_the_newest_text_that_fits() -> None:
    """Of each story alone, in the order of its passages, whatever the order of the rows."""
    alone = Shares(write=0, update=0, plan=0, text=1)
    found, _ = trees(TOKENIZER, STEPS[::-1], alone, max_length=2000)
    told = {s.passage: [o.passage for o in STEPS if o.story == s.story and o.index < s.index] for s in STEPS}
    assert len(found) == len(STEPS)
    for tree in found:
        (said,) = trained(tree)
        context = str(TOKENIZER.decode(tree.prompt.ids, skip_special_tokens=True))
        assert context == "".join(f"{t}\n" for t in told[said.removesuffix("\n")])
        assert not tree.prompt.trained.any()
    longest = max(len(b.ids) for t in found for b in t.branches)
    short, too_long = trees(TOKENIZER, STEPS, alone, max_length=longest + 1)
    assert (len(short), too_long) == (len(STEPS), 0)
    assert all(t.size <= longest + 1 for t in short)
    assert trees(TOKENIZER, STEPS, alone, max_length=longest)[1] >= 1


def test_an_opening_is_read_and_never_written() -> None:
    opening = STEPS[0]
    found, _ = trees(TOKENIZER, [opening], Shares(write=1, update=0, plan=0), max_length=2000)
    assert found == []
    found, _ = trees(TOKENIZER, [opening], Shares(write=1, update=1, plan=0), max_length=2000)
    assert trained(found[0]) == [requests.patch_of(opening.before, opening.after) + TOKENIZER.eos_token]


def test_passages_of_one_panel_share_it_and_the_loss_is_the_same() -> None:
    step = STEPS[1]
    three = [dataclasses.replace(step, story=f"v{n}", passage=s.passage) for n, s in enumerate(STEPS[1:4])]
    only = Shares(write=1, update=0, plan=0)
    shared, _ = trees(TOKENIZER, three, only, max_length=2000)
    apart = [t for s in three for t in trees(TOKENIZER, [s], only, max_length=2000)[0]]
    assert (len(shared), len(apart)) == (1, 3)
    assert shared[0].size < sum(t.size for t in apart)
    model = policy().model
    a, b = (means(model, found, {"loss": next_token})["loss"] for found in (shared, apart))
    assert a == pytest.approx(b, abs=1e-5)


def test_no_tree_outgrows_a_micro_batch_however_many_share_a_panel() -> None:
    many = [dataclasses.replace(STEPS[1], story=str(n)) for n in range(30)]
    found, _ = trees(TOKENIZER, many, ALL, max_length=300)
    assert max(t.size for t in found) <= 600
    assert sum(len(t.branches) for t in found) == 60


def test_weights_of_steps_multiply_their_loss() -> None:
    a, b = STEPS[1], dataclasses.replace(STEPS[2], weight=0.0)
    model = policy().model
    only = Shares(write=1, update=0, plan=0)
    both = means(model, trees(TOKENIZER, [a, b], only, max_length=2000)[0], {"loss": next_token})["loss"]
    one = means(model, trees(TOKENIZER, [a], only, max_length=2000)[0], {"loss": next_token})["loss"]
    assert both == pytest.approx(one, abs=1e-6)


def test_a_condition_is_said_first() -> None:
    step = dataclasses.replace(STEPS[1], condition="good")
    (tree,), _ = trees(TOKENIZER, [step], Shares(write=1, update=0, plan=0), max_length=2000)
    assert "[good]\nperson" in TOKENIZER.decode(tree.prompt.ids)


def test_shares_are_kept_and_drawn_anew_with_another_seed() -> None:
    many = [dataclasses.replace(STEPS[1], story=str(n)) for n in range(400)]
    half = Shares(write=0.5, update=0, plan=0)
    drawn = [[half.drawn(seed, s, "write") for s in many] for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.06)


def test_answers_longer_than_the_limit_are_left_out_and_counted() -> None:
    assert trees(TOKENIZER, STEPS[1:2], ALL, max_length=20) == ([], 2)


def test_the_recent_text_is_whole_passages_within_the_room() -> None:
    told = [s.passage for s in STEPS[:4]]
    ids = panel_trees.recent(TOKENIZER, told, tokens=100)
    assert len(ids) <= 100
    shown = TOKENIZER.decode(ids, skip_special_tokens=True).split("\n")[:-1]
    assert shown == told[4 - len(shown) :]
    assert panel_trees.recent(TOKENIZER, told, tokens=10) == (TOKENIZER.bos_token_id,)


def test_measured_tokens_are_those_of_the_passage_in_any_context() -> None:
    model, said = policy().model, [s.passage for s in STEPS[1:3]]
    empty = [(TOKENIZER.bos_token_id,)] * 2
    shown = [chat.render_prompt(TOKENIZER, requests.write(s.before)) for s in STEPS[1:3]]
    a, b = measured(model, TOKENIZER, empty, said), measured(model, TOKENIZER, shown, said)
    for x, y, text in zip(a, b, said, strict=True):
        assert x.ids.tolist() == y.ids.tolist() == TOKENIZER.encode(text, add_special_tokens=False)
        assert not np.allclose(x.nats, y.nats)
        assert (x.entropy >= 0).all()
    (alone,) = measured(model, TOKENIZER, shown[1:], said[1:])
    np.testing.assert_allclose(alone.nats, b[1].nats, atol=1e-4)


def test_a_stranger_gives_every_passage_another_storys_panel() -> None:
    own = {(s.story, s.index): s for s in STEPS}
    found = panel_fit.strangers(STEPS, 0)
    assert len(found) == sum(bool(s.before.plan) for s in STEPS)
    for s in found:
        assert s.passage == own[s.story, s.index].passage
        assert s.before in [o.before for o in STEPS if o.story != s.story]


@pytest.mark.parametrize(
    ("passage", "panel", "share"),
    [
        ("Mina went to the old mill", "plan Mina went to the barn", 4 / 6),
        ("Mina went home", "Mina went home", 0.0),
        ("a b c d e f", "a b c d e f", 1.0),
    ],
)
def test_copied_words_by_hand(passage: str, panel: str, share: float) -> None:
    assert panel_gains.copied(passage, panel) == pytest.approx(share)
