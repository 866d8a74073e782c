"""A student nears its teacher in every way that it can be taught; what cannot work is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import tiny
from heedful.data.formats import write_preferences
from heedful.engine.batch import collate
from heedful.engine.score import columns, use_packed_attention
from heedful.losses import distill as losses
from heedful.nn import hub
from heedful.nn.pupil import Pupil
from heedful.stages import distill
from heedful.types import Message, Preference
from stages import saved


def config(folder: Path, **values: Any) -> distill.DistillConfig:
    if not (folder / "policy").is_dir():
        saved.models(folder)
        saved.prompts(folder)
        teacher = folder / "teacher"
        model = hub.load_model(folder / "policy")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(
                    0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                )
        hub.save_model(teacher, model, hub.load_tokenizer(folder / "policy"))
        asked = [Message("user", "a b")]
        write_preferences(
            folder / "data.jsonl",
            [Preference(tuple(asked), t, "i") for t in ("a b c", "c c", "d e f g", "h")],
        )
    small = {"max_completion_length": 8, "learning_rate": 3e-3, "tokens_per_step": 64, "max_length": 64}
    given = {"output": folder / "out", "model": str(folder / "policy"), "teacher": str(folder / "teacher")}
    return distill.DistillConfig(**{**given, **small, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"answers": "data", "epochs": 40},
        {"answers": "teacher", "epochs": 4, "objective": "reverse_kl"},
        {"answers": "student", "steps": 12, "objective": "jensen_shannon", "softness": 2.0},
    ],
)
def test_the_student_nears_the_teacher(tmp_path: Path, values: dict[str, Any]) -> None:
    given = (
        {"data": tmp_path / "data.jsonl"}
        if values["answers"] == "data"
        else {"prompts": tmp_path / "prompts.jsonl"}
    )
    teacher_before = config(tmp_path, **given, **values) and saved.weights(tmp_path / "teacher")
    result = distill.main(config(tmp_path, **given, **values))
    assert result["divergence"] < 0.7 * result["divergence_before"]
    assert saved.weights(tmp_path / "teacher") == teacher_before
    assert saved.weights(tmp_path / "out" / "model") != saved.weights(tmp_path / "policy")
    assert "->" in distill.line(result)


def test_answers_alone_are_supervised_fine_tuning(tmp_path: Path) -> None:
    values = {"answers": "teacher", "objective": "answer", "prompts": tmp_path / "prompts.jsonl", "epochs": 3}
    result = distill.main(config(tmp_path, **{**values, "learning_rate": 3e-4}))
    assert result["divergence"] < result["divergence_before"]


def test_killed_and_started_again_is_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"answers": "student", "steps": 6, "prompts": tmp_path / "prompts.jsonl", "save_every": 0.0}
    whole = config(tmp_path, **values, output=tmp_path / "whole")
    broken = config(tmp_path, **values, output=tmp_path / "broken")
    distill.main(whole)
    sampled = distill.answered

    def dies(made: Any, policy: Any, prompts: Any, seed: Any) -> Any:
        if seed[-1] == 4:
            raise KeyboardInterrupt
        return sampled(made, policy, prompts, seed)

    with monkeypatch.context() as patch:
        patch.setattr(distill, "answered", dies)
        with pytest.raises(KeyboardInterrupt):
            distill.main(broken)
    assert (broken.output / "checkpoint-4").is_dir()
    distill.main(broken)
    assert saved.weights(broken.output / "model") == saved.weights(whole.output / "model")


def test_the_columns_are_both_models_logits() -> None:
    student, teacher = tiny.llama(), tiny.llama(seed=1)
    use_packed_attention(teacher)
    pupil = Pupil(student, teacher)
    use_packed_attention(pupil)
    packed = collate(tiny.trees())
    found = columns(pupil, packed, ("logits", "teacher_logits", "logp"))
    logp = found["logits"].log_softmax(-1).gather(1, packed.targets[:, None])[:, 0]
    torch.testing.assert_close(logp, found["logp"], atol=1e-5, rtol=1e-5)
    assert not found["teacher_logits"].requires_grad
    value = losses.forward_kl(found["logits"], found["teacher_logits"])
    assert (value > 0).all()
    assert {n.split(".")[0] for n, _ in pupil.named_parameters()} == {"policy"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "answers=data needs data"),
        ({"answers": "student"}, "answers=student needs prompts"),
        ({"answers": "teacher", "prompts": "p", "data": "d"}, "data means nothing with answers=teacher"),
        (
            {"answers": "student", "prompts": "p", "objective": "answer"},
            "learns nothing from its own answers",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path, values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        config(tmp_path, **values)
