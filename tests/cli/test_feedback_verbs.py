"""`heedful feedback VERB`: figures, files, copies and people of a store, from the command line."""

import json
from pathlib import Path

import pytest

from cli.kit import Heedful, jsonl
from heedful import Annotator, Answer, Comparison, Message, Prompt, Store


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A store with two annotators who agree on two pairs of three."""
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.add_prompts(Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(3))
        store.add_answers(
            Answer(f"{p}a{j}", p, "x" * (j + 1), f"policy {j}") for p in ("p0", "p1", "p2") for j in range(2)
        )
        store.add_annotators([Annotator("ada"), Annotator("bo")])
        for number in range(3):
            for name, sign in (("ada", 1), ("bo", -1 if number == 2 else 1)):
                store.submit(Comparison(f"p{number}", f"p{number}a0", f"p{number}a1", name, sign))
    return path


def test_every_figure_is_a_line_and_json(heedful: Heedful, where: Path) -> None:
    told = heedful("feedback", "stats", f"store={where}")
    assert told.code == 0, told.err
    assert "6 comparison" in told.out
    assert "same answer            0.667" in told.out
    found = json.loads(heedful("feedback", "stats", f"store={where}", "json=true").out)
    assert found["agreement"]["comparison"]["percent"]["value"] == pytest.approx(2 / 3)
    assert found["position"]["value"] == pytest.approx(5 / 6)
    assert found["length"]["value"] == pytest.approx(1 / 6)
    assert {model["policy"] for model in found["models"]} == {"policy 0", "policy 1"}


def test_out_and_in_again(heedful: Heedful, where: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    told = heedful("feedback", "export", f"store={where}", f"path={out}", "aggregate=majority")
    assert told.out.startswith("2 rows of 6 judgements")
    manifest = json.loads(out.with_name("out.jsonl.manifest.json").read_text())
    assert (manifest["as_of"], manifest["aggregate"], manifest["rows"]) == (6, "majority", 2)
    into = tmp_path / "new.db"
    assert heedful("feedback", "import", f"store={into}", f"path={out}").out.startswith(
        "2 new events, 2 new prompts"
    )
    assert heedful("feedback", "backup", f"store={where}", f"path={tmp_path / 'b.db'}").out.startswith(
        "6 events"
    )
    again = heedful("feedback", "restore", f"store={tmp_path / 'r.db'}", f"path={tmp_path / 'b.db'}")
    assert again.out.startswith("6 events")


def test_people_are_paused_resumed_and_forgotten(heedful: Heedful, where: Path) -> None:
    heedful("feedback", "pause", f"store={where}", "name=ada", "reason=holiday")
    assert (
        "ada  not examined  0 answers  paused: holiday"
        in heedful("feedback", "annotators", f"store={where}").out
    )
    heedful("feedback", "resume", f"store={where}", "name=ada")
    assert "paused" not in heedful("feedback", "annotators", f"store={where}").out
    heedful("feedback", "forget", f"store={where}", "name=ada")
    assert "ada" not in heedful("feedback", "annotators", f"store={where}", "json=true").out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("stats", r"feedback stats needs store: add store="),
        ("stats store=no.db", r"There is no feedback store"),
        ("stats store=STORE batch=x", r"There is no batch 'x'"),
        ("export store=STORE path=no/such/f", r"There is no folder"),
        ("export store=STORE path=f format=pdf", r"format='pdf' is not right"),
        ("import store=STORE path=none.jsonl", r"There is no file none\.jsonl"),
        ("backup store=STORE path=no/such/f", r"There is no folder"),
        ("restore store=new.db path=none", r"There is no backup none"),
        ("pause store=STORE name=ada", r"Say why"),
        ("resume store=STORE name=zoe", r"There is no annotator 'zoe'"),
        ("forget store=STORE name=zoe", r"There is no annotator 'zoe'"),
        ("stats store=STORE resample=3", r"no setting 'resample'.*resamples"),
    ],
)
def test_mistakes_are_one_sentence(heedful: Heedful, where: Path, words: str, sentence: str) -> None:
    import re

    told = heedful("feedback", *words.replace("STORE", str(where)).split())
    assert told.code == 2
    assert re.search(sentence, told.err), told.err
    assert told.err.count("\n") == 1


def test_the_stage_is_still_there(heedful: Heedful, tmp_path: Path) -> None:
    prompts = jsonl(tmp_path / "p.jsonl", [{"prompt": "Who?"}])
    told = heedful("feedback", "local", "model=none", f"prompts={prompts}", "store=s.db")
    assert "feedback needs judge: add judge=world" in told.err
