"""One renderer: what is trained is what is sampled, answers and their EOS are trained, nothing else is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from heedful.data import chat
from heedful.errors import UserError
from heedful.types import Message

ROLE_TOKENS = ["<|system|>", "<|user|>", "<|assistant|>"]
CORPUS = ["Who wrote the letter? Ada wrote the letter, and nobody else did. 谁写的信？"] * 4
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def tokenizer_with(
    *special: str, template: str | None = None, pad: str | None = None, bos: str | None = None
) -> Any:
    """A byte-level BPE whose first special token is its EOS."""
    model = Tokenizer(BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        bos_token=bos,
        eos_token=special[0] if special else None,
        pad_token=pad,
        additional_special_tokens=[token for token in special[1:] if token not in (bos, pad)],
    )
    tokenizer.chat_template = template
    return tokenizer


def with_roles() -> Any:
    return tokenizer_with("<|end|>", "<|begin|>", "<|pad|>", *ROLE_TOKENS, bos="<|begin|>", pad="<|pad|>")


def pad_is_eos() -> Any:
    return tokenizer_with("</s>", pad="</s>")


@pytest.fixture(params=["roles", "plain, pad = eos", "chatml", "stories260K", "babyllama-1M"], scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "roles":
        made = with_roles()
    elif request.param == "plain, pad = eos":
        made = pad_is_eos()
    elif request.param == "chatml":
        made = tokenizer_with("<|im_end|>", "<|im_start|>", template=CHATML)
    else:
        made = AutoTokenizer.from_pretrained(request.getfixturevalue("shared") / "models" / request.param)
    chat.ensure_chat_template(made)
    return made


def turns(*texts: str, system: str | None = None) -> list[Message]:
    head = [Message("system", system)] if system is not None else []
    return head + [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
) | st.sampled_from(
    ["</s>", "a<s>", "<|end|>b", "<|im_end|>", "<|assistant|>", " two  spaces ", "\n", "谁", "\ue0000\ue001"]
)
dialogues = st.tuples(st.none() | texts, st.lists(texts, min_size=1, max_size=5)).map(
    lambda parts: turns(*parts[1][: len(parts[1]) - 1 + len(parts[1]) % 2], system=parts[0])
)


@settings(max_examples=60)
@given(prompt=dialogues, answer=texts)
def test_a_rendered_dialogue_is_its_prompt_and_its_answer(
    tokenizer: Any, prompt: list[Message], answer: str
) -> None:
    before, after = chat.render_prompt(tokenizer, prompt), chat.answer_ids(tokenizer, answer)
    rendered = chat.render(tokenizer, [*prompt, Message("assistant", answer)])
    assert rendered.ids == before + after
    assert rendered.mask[len(before) :] == (True,) * len(after)
    assert sum(rendered.mask) == sum(
        len(chat.answer_ids(tokenizer, m.content)) for m in prompt if m.role == "assistant"
    ) + len(after)


@settings(max_examples=60)
@given(dialogue=dialogues, answer=texts)
def test_a_longer_dialogue_begins_like_the_shorter_one(
    tokenizer: Any, dialogue: list[Message], answer: str
) -> None:
    longer = chat.render(tokenizer, [*dialogue, Message("assistant", answer), *turns("More?", "No.")])
    shorter = chat.render(tokenizer, [*dialogue, Message("assistant", answer)])
    assert longer.ids[: len(shorter.ids)] == shorter.ids
    assert longer.mask[: len(shorter.ids)] == shorter.mask


@settings(max_examples=60)
@given(prompt=dialogues, answer=texts)
def test_what_people_write_never_becomes_a_special_token(
    tokenizer: Any, prompt: list[Message], answer: str
) -> None:
    def specials(dialogue: list[Message]) -> list[int]:
        ids = chat.render(tokenizer, dialogue).ids
        return [token for token in ids if token in tokenizer.added_tokens_decoder]

    blank = [Message(m.role, "x") for m in prompt]
    assert specials([*prompt, Message("assistant", answer)]) == specials([*blank, Message("assistant", "x")])
    assert tokenizer.decode(chat.answer_ids(tokenizer, answer)[:-1]) == answer


def test_every_answer_ends_with_a_trained_eos(tokenizer: Any) -> None:
    rendered = chat.render(tokenizer, turns("Who?", "Ada.", "And when?", "In May."))
    trained_eos = [
        n for n, token in enumerate(rendered.ids) if token == tokenizer.eos_token_id and rendered.mask[n]
    ]
    ends = [n for n, on in enumerate(rendered.mask) if on and rendered.mask[n + 1 : n + 2] != (True,)]
    assert trained_eos == ends
    assert len(ends) == 2
    assert ends[-1] == len(rendered.ids) - 1


def test_there_is_exactly_one_bos_where_the_tokenizer_has_one(tokenizer: Any) -> None:
    ids = chat.render(tokenizer, turns("Who?", "Ada.", "When?", "In May.", system="Be brief.")).ids
    if tokenizer.bos_token_id is None:
        assert tokenizer.decode(ids[:1]).strip() in ("S", "Sy", "<|im_start|>")
    else:
        assert [n for n, token in enumerate(ids) if token == tokenizer.bos_token_id] == [0]


def test_a_bos_that_the_tokenizer_adds_by_itself_is_put_once_before_a_template_without_one() -> None:
    tokenizer = tokenizer_with("</s>", "<s>", bos="<s>", template=CHATML)
    assert tokenizer.bos_token_id not in chat.render(tokenizer, turns("Who?", "Ada.")).ids
    adding = tokenizer_with("</s>", "<s>", bos="<s>", template=CHATML)
    adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", adding.bos_token_id)]
    )
    dialogue = turns("Who?", "Ada.", "When?", "In May.")
    assert chat.render(adding, dialogue).ids == (adding.bos_token_id, *chat.render(tokenizer, dialogue).ids)


def test_the_prompt_is_what_the_template_gives_to_others(tokenizer: Any) -> None:
    others = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert list(chat.render_prompt(tokenizer, turns("Who?", system="Be brief."))) == others


def test_pieces_spell_the_tokens_and_show_what_is_trained(tokenizer: Any) -> None:
    rendered = chat.render(tokenizer, turns("Who wrote 信 😀?", "谁? 😀 Ada"))
    found = chat.pieces(tokenizer, rendered)
    assert "".join(text for text, _ in found) == tokenizer.decode(rendered.ids)
    assert "".join(text for text, trained in found if trained).strip() == "谁? 😀 Ada" + tokenizer.eos_token
    assert ("谁", True) in found or (" 谁", True) in found


def test_golden_text_of_the_templates_that_we_give() -> None:
    dialogue = turns("Who?", "Ada.", "When?", "In May.", system="Brief.")
    named = with_roles()
    chat.ensure_chat_template(named)
    assert named.decode(chat.render(named, dialogue).ids) == (
        "<|begin|><|system|>Brief.<|end|><|user|>Who?<|end|><|assistant|>Ada.<|end|>"
        "<|user|>When?<|end|><|assistant|>In May.<|end|>"
    )
    plain = pad_is_eos()
    chat.ensure_chat_template(plain)
    assert plain.decode(chat.render(plain, dialogue).ids) == (
        "System:\nBrief.\n\nUser:\nWho?\n\nAssistant:\nAda.</s>\n\nUser:\nWhen?\n\nAssistant:\nIn May.</s>"
    )


def test_a_template_that_is_there_is_kept_and_a_new_one_is_saved(tmp_path: Path) -> None:
    chatml = tokenizer_with("<|im_end|>", template=CHATML)
    chat.ensure_chat_template(chatml)
    assert chatml.chat_template == CHATML
    named = with_roles()
    chat.ensure_chat_template(named)
    named.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert chat.render(again, turns("Who?", "Ada.")) == chat.render(named, turns("Who?", "Ada."))


ASSISTANT = "{{ 'A' + m['content'] + %s }}"
FORMS = {
    "a line end after EOS": "eos_token + '\\n'",
    "no EOS at all": "'\\n'",
    "spaces before EOS": "'  ' + eos_token",
    "EOS at the very end only": "('<e>' + (eos_token if loop.last else ''))",
}


@pytest.mark.parametrize("ending", FORMS.values(), ids=FORMS)
def test_however_a_template_ends_an_answer_one_trained_eos_follows_it(ending: str) -> None:
    body = (
        "{% if m['role'] == 'user' %}{{ 'U' + m['content'] }}{% else %}" + ASSISTANT % ending + "{% endif %}"
    )
    template = "{% for m in messages %}" + body + "{% endfor %}{{ 'A' if add_generation_prompt else '' }}"
    tokenizer = tokenizer_with("</s>", template=template)
    rendered = chat.render(tokenizer, turns("q", "a", "r", "b"))
    trained = [text for text, on in chat.pieces(tokenizer, rendered) if on]
    assert trained == ["a", "</s>", "b", "</s>"]
    untrained = "".join(text for text, on in chat.pieces(tokenizer, rendered) if not on)
    assert "</s>" not in untrained
    assert untrained.replace("\n", "").replace("<e>", "") == "UqAUrA"


@pytest.mark.parametrize(
    ("opening", "written", "prompt"),
    [("A:", "A: ", "UqA:"), ("A", "A\\n", "UqA\n"), ("A", "A<think></think>", "UqA<think></think>")],
)
def test_what_stands_before_an_answer_belongs_to_the_prompt(opening: str, written: str, prompt: str) -> None:
    """But for spaces, which the tokens of the answer itself may bring."""
    template = (
        "{% for m in messages %}{{ ('U' if m['role'] == 'user' else '" + written + "') + m['content'] }}"
        "{% endfor %}{{ '" + opening + "' if add_generation_prompt else '' }}"
    )
    tokenizer = tokenizer_with("</s>", template=template)
    assert tokenizer.decode(chat.render_prompt(tokenizer, turns("q"))) == prompt


LOOP = "{% for m in messages %}{{ m['role'][0] + m['content'] }}{% endfor %}"
THINK = LOOP.replace("+", "+ ('<t>' if loop.last and m['role'][0] == 'a' else '') +")
BAD_TEMPLATES = {
    "drops": ("{{ messages[-1]['content'] }}", r"leaves out, moves or repeats message 1 \(user\)"),
    "repeats": (LOOP + "{{ messages[0]['content'] }}", r"leaves out, moves or repeats message 1 \(user\)"),
    "generation prompt": (
        LOOP + "{{ 'b' if add_generation_prompt else '' }}",
        "generation prompt is not what",
    ),
    "thinks last": (
        THINK,
        r"not prefix-consistent \(it writes the first 2 messages in another",
    ),
    "counts": ("{{ messages | length }}" + LOOP, r"not prefix-consistent"),
    "refuses": (
        "{{ raise_exception('No.\nNever.') }}",
        r"fails on the roles user, assistant, user, assistant: No\. Never\.$",
    ),
    "is broken": ("{% for %}", r"fails on the roles user, assistant, user, assistant: "),
}


@pytest.mark.parametrize(("template", "message"), BAD_TEMPLATES.values(), ids=BAD_TEMPLATES)
def test_templates_that_would_train_other_tokens_than_are_sampled(template: str, message: str) -> None:
    tokenizer = tokenizer_with("</s>", template=template)
    with pytest.raises(UserError, match=message):
        chat.render(tokenizer, turns("q", "a", "r", "b"))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (turns("Who?"), "no assistant message"),
        ([], "no assistant message"),
        (turns("Who?", "Ada.")[1:], "Message 1 .* has the role 'assistant' where system or user is expected"),
        ([*turns("Who?"), *turns("Who?", "Ada.")], "Message 2 .* 'user' where assistant is expected"),
        ([*turns("Who?"), Message("system", "x"), *turns("Who?", "Ada.")], "Message 2 .* 'system'"),
        ([Message("tool", "x"), *turns("Who?", "Ada.")], "Message 1 .* 'tool'"),  # type: ignore[arg-type]
    ],
)
def test_dialogues_that_cannot_be_trained_on(messages: list[Message], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chat.render(tokenizer_with("</s>", template=CHATML), messages)


def test_prompts_end_with_the_user() -> None:
    for messages in ([], turns("Who?", "Ada."), [Message("system", "x")]):
        with pytest.raises(UserError, match="must end with a user message"):
            chat.render_prompt(tokenizer_with("</s>", template=CHATML), messages)


def test_a_tokenizer_needs_an_eos_and_a_template() -> None:
    with pytest.raises(UserError, match="no EOS token"):
        chat.render(tokenizer_with(template=CHATML), turns("Who?", "Ada."))
    with pytest.raises(UserError, match="no EOS token"):
        chat.render_prompt(tokenizer_with(template=CHATML), turns("Who?"))
    with pytest.raises(UserError, match="no chat template"):
        chat.render(tokenizer_with("</s>"), turns("Who?", "Ada."))


def test_a_dialogue_that_is_too_long_is_never_cut() -> None:
    tokenizer = with_roles()
    chat.ensure_chat_template(tokenizer)
    length = len(chat.render(tokenizer, turns("Who?", "Ada.")).ids)
    assert len(chat.render(tokenizer, turns("Who?", "Ada."), max_length=length).ids) == length
    with pytest.raises(chat.TooLong, match=f"has {length} tokens, more than max_length={length - 1}"):
        chat.render(tokenizer, turns("Who?", "Ada."), max_length=length - 1)


def test_a_last_question_without_an_answer_is_left_out() -> None:
    tokenizer = pad_is_eos()
    chat.ensure_chat_template(tokenizer)
    assert chat.render(tokenizer, turns("Who?", "Ada.", "When?")) == chat.render(
        tokenizer, turns("Who?", "Ada.")
    )


def test_answers_stop_at_the_eos_of_the_tokenizer_and_of_the_model() -> None:
    tokenizer = with_roles()
    eos = tokenizer.eos_token_id
    assert chat.stop_ids(tokenizer) == (eos,)
    for named, expected in ((None, (eos,)), (eos, (eos,)), (7, (eos, 7)), ([7, eos], (eos, 7))):
        model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=named))
        assert chat.stop_ids(tokenizer, model) == expected
