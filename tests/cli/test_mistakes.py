"""Whatever the user gets wrong is one sentence that says what to do, exit code 2, and nothing is written."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bad_inputs.cases import CASES, Case
from cli.kit import Heedful, Outcome, jsonl, tree
from heedful import recipes
from heedful.engine.kernels import library

Files = dict[str, Path]


@pytest.fixture(autouse=True)
def _kernels_are_not_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that says so belongs to no mistake."""
    monkeypatch.setattr(library, "_kept", [library.TORCH])


def assert_one_sentence(ended: Outcome, pattern: str) -> None:
    assert ended.code == 2
    assert ended.out == ""
    assert re.fullmatch(r"heedful: [^\n]+\n", ended.err), ended.err
    assert re.search(pattern, ended.err), ended.err
    assert "Traceback" not in ended.err


WORDS = [
    ("pretrian small", r"no such command 'pretrian'.*pretrain"),
    ("loop", r"missing argument 'recipe'"),
    ("loop small --dry", r"no such option: --dry"),
    ("loop seed=1", r"a recipe comes before the settings: write local seed=1"),
    ("loop smal", r"there is no recipe 'smal'\. Did you mean 'small'\?"),
    ("loop none.yaml", r"recipe file 'none\.yaml' does not exist"),
    ("loop small seed", r"'seed' is not a setting: write key=value"),
    ("loop small =3", r"'=3' is not a setting"),
    ("loop small sede=1", r"loop has no setting 'sede'\. Did you mean 'seed'\?"),
    ("loop small zzz=1", r"loop has no setting 'zzz'\. Known: .*rounds.*"),
    ("loop small rl.lerning_rate=1", r"rl has no setting 'lerning_rate'\. Did you mean 'learning_rate'\?"),
    ("loop small evaluate.slots=0", r"evaluate: slots=0 is not right: .*greater than 0"),
    ("loop small seed=one", r"loop: seed='one' is not right: .*valid integer"),
    ("prefer local model=x data=y loss=simppo", r"there is no loss 'simppo'\. Did you mean 'simpo'\?"),
    ("prefer local model=x data=y loss=simpo gama=1", r"loss simpo has no setting 'gama'\. Did you mean 'gamma'"),
    ("sft local model=x data=y kl_coef=1", r"kl_coef means nothing with condition=none"),
    ("loop small prefer.bta=1", r"loss dpo has no setting 'bta'\. Did you mean 'beta'\?"),
    ("loop small rounds=0", r"loop: rounds=0 is not right: .*greater than or equal to 1"),
    ("loop small rl.num_mini_batches=99", r"rl: num_mini_batches is larger than prompts_per_step: lower it"),
    ("loop small pretrain.heads=3", r"pretrain: hidden_size=64 is no multiple of twice heads=3: change one"),
    ("loop small lang=fr", r"loop: lang='fr' is not right: .*'en' or 'zh'"),
    ("loop small rl=3", r"loop: rl=3 is not right: .*valid dictionary"),
    ("loop small rl.a=1 rl.a.b=1", r"'rl\.a\.b' sets a part of 'a', which was given a value of its own"),
    ("loop small seed=[1", r"the value of 'seed' cannot be read: '\[1'"),
    ("loop small output=2024-99-99", r"the value of 'output' cannot be read: '2024-99-99'"),
    ("loop small prompts=p.jsonl", r"loop needs the model that prompts is for: add model=DIR"),
    ("loop local model=MODEL", r"loop needs prompts: add prompts=FILE"),
    ("loop local model=MODEL prompts=PROMPTS", r"loop needs dialogues to fine-tune on"),
    ("loop local model=MODEL prompts=PROMPTS data=CHATS", r"nothing to learn preferences from: give pref"),
    ("loop local model=MODEL prompts=PROMPTS preferences=P judge=fair", r"judge 'fair' is none of"),
    ("loop local model=MODEL prompts=PROMPTS preferences=P judge=a.py:f", r"judge file 'a\.py' does not exist"),
    ("sft local data=CHATS", r"sft needs model: add model=\.\.\."),
    ("sft local modell=MODEL data=CHATS", r"sft has no setting 'modell'\. Did you mean 'model'\?"),
    ("sft local model=MODEL data=CHATS learning_rate=-1", r"sft: learning_rate=-1 is not right: .*greater than 0"),
    ("sft local model=MODEL data=CHATS learning_rate=.nan", r"sft: learning_rate=nan is not right: .*finite"),
    ("sft local model=MODEL data=CHATS optimizer=adam", r"sft: optimizer='adam' is not right: .*'adamw_8bit'"),
    ("sft local model=MODEL data=CHATS epochs=two", r"sft: epochs='two' is not right: .*valid number"),
    ("sft local model=./none data=CHATS", r"'\./none' is not a folder: give the one that holds config\.json|tokenizer"),
    ("sft local model=nowhere data=CHATS", r"'nowhere' is not a folder"),
    ("sft local model=runs/nowhere data=CHATS", r"cannot load 'runs/nowhere' from the hub, and there is no"),
    ("sft local model=DATA data=CHATS", r"'.*data' has no .*json: give a folder in the Hugging Face layout"),
    ("sft local model=MODEL data=CHATS max_length=4", r"all 32 dialogues are longer than max_length=4 tokens"),
    ("sft local model=MODEL data=CHATS heldout=none.jsonl", r"There is no file 'none\.jsonl'"),
    ("sft local model=MODEL data=WEIGHTLESS", r"nothing to learn from"),
    ("tokenizer local data=TEXTS vocab_size=10", r"tokenizer: vocab_size=10 is not right"),
    ("tokenizer local data=none.txt", r"There is no file 'none\.txt'"),
    ("pretrain local data=TEXTS heldout=TEXTS tokenizer=DATA", r"has no tokenizer\.json"),
    ("reward local model=MODEL data=P max_length=5", r"longer than max_length=5"),
    ("reward local model=MODEL data=ONE", r"1 prompts are too few to hold some of them out"),
    ("prefer local model=MODEL data=CHATS", r"chats\.jsonl, line 1 .*column"),
    ("prefer local model=MODEL data=ONE", r"1 prompts are too few"),
    ("rl local model=MODEL reward=SCORER prompts=PROMPTS max_completion_length=64", r"none of the 32 prompts leaves"),
    ("rl local model=MODEL reward=MODEL prompts=PROMPTS", r"holds no weights of the right shape for score\.weight"),
    ("rl local model=MODEL reward=nowhere prompts=PROMPTS", r"'nowhere' is not a folder"),
    ("evaluate local models={} prompts=PROMPTS", r"there is nothing to evaluate: give models\.NAME=DIR"),
    ("evaluate local benchmark=P", r"benchmark is what a reward is measured on: add reward=DIR"),
    ("evaluate local models.a=MODEL models.b=nowhere prompts=PROMPTS SHORT", r"'nowhere' is not a folder"),
    ("feedback local model=MODEL prompts=PROMPTS store=no/such/f.db judge=world SHORT", r"There is no folder .*such"),
    ("feedback local model=MODEL prompts=PROMPTS store=f.db judge=a.py:f", r"judge file 'a\.py' does not exist"),
    ("inspect none.jsonl MODEL", r"There is no file 'none\.jsonl'"),
    ("inspect CHATS nowhere", r"'nowhere' is not a folder"),
    ("inspect CHATS", r"missing argument 'tokenizer'"),
    ("inspect CHATS MODEL --rows x", r"invalid value for '--rows'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "pattern"), WORDS, ids=[w for w, _ in WORDS])
def test_a_mistake_is_one_sentence(
    heedful: Heedful,
    model: Path,
    scorer: Path,
    data: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    pattern: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = [{"prompt": "Who?", "completion": "Mira.", "weight": 0}] * 3
    named: dict[str, object] = {
        "MODEL": model,
        "SCORER": scorer,
        "SHORT": "max_completion_length=8",
        "DATA": tmp_path / "data",
        "CHATS": data["conversations"],
        "TEXTS": data["texts"],
        "PROMPTS": data["prompts"],
        "P": data["preferences"],
        "WEIGHTLESS": jsonl(tmp_path / "data" / "weightless.jsonl", rows),
        "ONE": jsonl(
            tmp_path / "data" / "one.jsonl", [{"prompt": "Who?", "chosen": "Mira.", "rejected": "I."}]
        ),
    }
    before = tree(tmp_path)
    filled = [
        re.sub(r"(?<![a-z])[A-Z]+$", lambda m: str(named.get(m[0], m[0])), word) for word in words.split()
    ]
    assert_one_sentence(heedful(*filled), pattern)
    assert tree(tmp_path) == before


YAML = [
    ("seed: [1", r"recipe\.yaml, line 1 is not valid YAML: write key: value"),
    ("a: 1\nb: 'x\n", r"recipe\.yaml, line \d is not valid YAML"),
    ("- seed", r"recipe\.yaml must hold key: value lines"),
    ("", r"recipe\.yaml must hold key: value lines"),
    ("sede: 1", r"no setting 'sede'\. Did you mean 'seed'\?"),
    ("seed: 1\n  rl: 2", r"recipe\.yaml, line 2 is not valid YAML"),
    ("recipe: nothing", r"there is no recipe 'nothing'"),
    ("recipe: recipe.yaml", r"recipe 'recipe\.yaml' starts from itself"),
    ("output: 2024-99-99", r"recipe\.yaml is not valid YAML"),
    (b"seed: \xff", r"recipe\.yaml is not valid YAML"),
]


@pytest.mark.parametrize("verb", ["loop", "sft"])
@pytest.mark.parametrize(("text", "pattern"), YAML)
def test_a_bad_recipe_file_is_one_sentence(
    heedful: Heedful,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    text: str | bytes,
    pattern: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = tree(tmp_path)
    assert_one_sentence(heedful(verb, "recipe.yaml"), pattern)
    assert tree(tmp_path) == before


# The words that hand a file to the reader of its kind.
READERS = {
    "texts": ["tokenizer local data=FILE", "pretrain local data=FILE heldout=FILE tokenizer=MODEL"],
    "conversations": [
        "sft local model=MODEL data=FILE",
        "loop local model=MODEL prompts=PROMPTS preferences=P data=FILE",
        "inspect FILE MODEL",
    ],
    "prompts": [
        "feedback local model=MODEL store=feedback.db judge=world prompts=FILE",
        "rl local model=MODEL reward=SCORER prompts=FILE",
        "evaluate local models.a=MODEL prompts=FILE",
        "loop local model=MODEL preferences=P prompts=FILE",
    ],
    "preferences": [
        "reward local model=MODEL data=FILE",
        "prefer local model=MODEL data=FILE",
        "loop local model=MODEL prompts=PROMPTS preferences=FILE",
    ],
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_file_is_one_sentence(
    heedful: Heedful,
    model: Path,
    scorer: Path,
    data: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
) -> None:
    if case.name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    named = {
        "FILE": case.path,
        "MODEL": model,
        "SCORER": scorer,
        "PROMPTS": data["prompts"],
        "P": data["preferences"],
    }
    before = tree(tmp_path)
    for words in READERS[case.reader]:
        filled = [re.sub(r"(?<![a-z])[A-Z]+$", lambda m: str(named[m[0]]), word) for word in words.split()]
        assert_one_sentence(
            heedful(*filled), rf"heedful: (There is no file ')?{re.escape(str(case.path))}{case.message}"
        )
        assert tree(tmp_path) == before


def without(model: Path, folder: Path, name: str, **changes: Any) -> Path:
    """A copy of a model with some keys of one of its files taken out or changed."""
    shutil.copytree(model, folder)
    values = json.loads((folder / name).read_text())
    for key, value in changes.items():
        values.pop(key) if value is None else values.update({key: value})
    (folder / name).write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("file", "changes", "pattern"),
    [
        (
            "tokenizer_config.json",
            {"eos_token": None},
            r"has no EOS token: set eos_token in tokenizer_config",
        ),
        ("config.json", {"model_type": "no-such-model"}, r"cannot load '.*broken'"),
        ("config.json", {"hidden_size": "wide"}, r"cannot load '.*broken'"),
        (
            "config.json",
            {"hidden_size": 24},
            r"broken' holds no weights of the right shape for model.* and \d+ more",
        ),
        (
            "config.json",
            {"num_hidden_layers": 2},
            r"broken' holds no weights of the right shape for model\.layers\.1",
        ),
    ],
)
def test_a_broken_model_is_one_sentence(
    heedful: Heedful,
    model: Path,
    data: Files,
    tmp_path: Path,
    file: str,
    changes: dict[str, Any],
    pattern: str,
) -> None:
    broken = without(model, tmp_path / "broken", file, **changes)
    words = ("sft", "local", f"model={broken}", f"data={data['conversations']}", f"output={tmp_path / 'out'}")
    assert_one_sentence(heedful(*words), pattern)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
@pytest.mark.parametrize("how", ["missing", "cut off", "rubbish"])
def test_a_damaged_file_of_a_model_is_one_sentence(
    heedful: Heedful, model: Path, data: Files, tmp_path: Path, file: str, how: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    whole = (broken / file).read_bytes()
    (broken / file).write_bytes(whole[: len(whole) // 2] if how == "cut off" else b"rubbish")
    if how == "missing":
        (broken / file).unlink()
    words = ("sft", "local", f"model={broken}", f"data={data['conversations']}", f"output={tmp_path / 'out'}")
    assert_one_sentence(heedful(*words), re.escape(str(broken)))
    assert not (tmp_path / "out").exists()


def test_the_recipes_are_known() -> None:
    """A recipe that is not listed could not be found by its name."""
    found = {p.stem for p in Path(recipes.__file__).parent.glob("*.py")} - {"__init__"}
    assert found == set(recipes.NAMES)
