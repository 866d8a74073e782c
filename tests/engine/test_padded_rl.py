"""Everything above the packed row works unchanged where rows are padded: reward models, rollouts, PPO."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

import tiny
from engine.toy_rl import EOS, PROMPTS, SETTINGS, WORDS, Share, rewards, tokenizer
from heedful.data import chat
from heedful.engine.policy import Policy
from heedful.engine.reward_model import RewardModel
from heedful.engine.rollout import Rollouts
from heedful.engine.score import use_packed_attention
from heedful.nn.actor_critic import ActorCritic


def made(number: int, *, scorer: bool = False) -> Any:
    config = hf.BloomConfig(
        vocab_size=len(WORDS), hidden_size=32, n_layer=2, n_head=4, eos_token_id=EOS, pad_token_id=0
    )
    return tiny.model(config, scorer=scorer, seed=number)


def rollouts(reward: Any, **settings: Any) -> Rollouts:
    model, reference = ActorCritic(made(0), made(1, scorer=True)), made(2)
    for part in (model, reference):
        use_packed_attention(part)
    return Rollouts(
        model=model,
        policy=Policy(model.policy, tokenizer()),
        reference=reference,
        reward=reward,
        prompts=PROMPTS,
        settings=replace(SETTINGS, **settings),
        kl_coef=0.0,
    )


def test_rollouts_carry_what_each_answer_gives_alone() -> None:
    policy, critic = made(0), made(1, scorer=True)
    [packed] = next(iter(rollouts(Share(), minibatches=1, epochs=1).batches(1)))
    number = 0
    for group in packed.layout.groups:
        prompt = packed.ids[slice(*group.prompt)]
        for span in group.branches:
            ids = torch.cat([prompt, packed.ids[slice(*span)]])
            with torch.no_grad():
                table = policy(ids[None], use_cache=False).logits[0].log_softmax(-1)
                value = critic.score(critic.base_model(ids[None], use_cache=False).last_hidden_state[0])[:, 0]
            rows, before = packed.sequence == number, slice(len(prompt) - 1, len(ids) - 1)
            logp = table[before].gather(-1, ids[len(prompt) :, None])[:, 0]
            torch.testing.assert_close(packed.columns["behavior_logp"][rows], logp, atol=5e-5, rtol=1e-4)
            torch.testing.assert_close(packed.columns["old_value"][rows], value[before], atol=5e-5, rtol=1e-4)
            number += 1
    assert number == SETTINGS.prompts_per_step * SETTINGS.num_generations


def test_the_reward_rises() -> None:
    found = rewards(rollouts(Share(), seed=0), 12)
    assert np.mean(found[-3:]) > np.mean(found[:3]) + 0.1


def test_a_padded_reward_model_scores_each_answer_as_alone() -> None:
    scorer, words = made(3, scorer=True), tokenizer()
    chat.ensure_chat_template(words)
    texts = [["a b", "c"], ["d e f g", "h", "i a"]]
    expected = []
    for prompt, answers in zip(PROMPTS, texts, strict=False):
        for text in answers:
            ids = [*chat.render_prompt(words, prompt.messages), *chat.answer_ids(words, text)]
            expected.append(scorer(torch.tensor([ids]), use_cache=False).logits[0, 0].item())
    scores = RewardModel(scorer, words).scores(PROMPTS[:2], texts)
    assert [s for row in scores for s in row] == pytest.approx(expected, abs=2e-5)
