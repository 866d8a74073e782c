"""What a chat template writes around the contents of messages, found once for each sequence of roles.

The template is rendered with marks in place of the contents, so that the text around them cannot depend on
what people wrote, and so that a message which spells a special token stays what it is: text.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from heedful.errors import UserError
from heedful.types import Role

_ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_WITH_TOKENS = (
    "{% for message in messages %}"
    "{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '<|end|>' }}"
    "{% endfor %}"
    "{{ '<|assistant|>' if add_generation_prompt else '' }}"
)
_PLAIN = (
    "{% for message in messages %}"
    "{{ {'system': 'System:', 'user': 'User:', 'assistant': 'Assistant:'}[message['role']] }}"
    "{{ '\\n' ~ message['content'] ~ (eos_token if message['role'] == 'assistant' else '') ~ '\\n\\n' }}"
    "{% endfor %}"
    "{{ 'Assistant:\\n' if add_generation_prompt else '' }}"
)


class ChatTokenizer(Protocol):
    """What we use of a tokenizer of transformers."""

    bos_token: Any
    bos_token_id: Any
    eos_token: Any
    eos_token_id: Any
    chat_template: Any
    added_tokens_decoder: Any

    def __len__(self) -> int: ...
    def __hash__(self) -> int: ...
    def get_vocab(self) -> dict[str, int]: ...
    def encode(self, text: str, **options: Any) -> Any: ...
    def decode(self, token_ids: Any, **options: Any) -> Any: ...
    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the contents of some messages, the last of which is the assistant's.

    `gaps[n]` is all text in front of content n, from the end of the content (and EOS) before it, and
    `before[n]` the part of it that is written as context. `begin` holds the BOS token if the tokenizer
    puts one in front by itself and the template does not.
    """

    gaps: tuple[str, ...]
    before: tuple[str, ...]
    begin: tuple[int, ...]


def ensure_chat_template(tokenizer: ChatTokenizer) -> None:
    """Give a tokenizer without a chat template a plain one, which is then saved with it.

    Where the tokenizer has <|system|>, <|user|>, <|assistant|> and <|end|>, they mark the turns.
    """
    if tokenizer.chat_template:
        return
    vocabulary = tokenizer.get_vocab()
    turns = _WITH_TOKENS if all(token in vocabulary for token in _ROLE_TOKENS) else _PLAIN
    # A text that begins with BOS is what such a model saw; where BOS is EOS (GPT-2), it ended texts only.
    has_bos = tokenizer.bos_token is not None and tokenizer.bos_token != tokenizer.eos_token
    tokenizer.chat_template = ("{{ bos_token }}" if has_bos else "") + turns


def frame(tokenizer: ChatTokenizer, roles: tuple[Role, ...], template: str | None = None) -> Frame:
    """The frame of messages with these roles, the last of which is the assistant's, in `template` or its own."""
    if not tokenizer.chat_template:
        raise UserError("The tokenizer has no chat template; set chat_template in its tokenizer_config.json.")
    return _frame(tokenizer, template, str(tokenizer.chat_template), str(tokenizer.eos_token), roles)


@lru_cache(maxsize=1024)
def _frame(
    tokenizer: ChatTokenizer, template: str | None, own: str, eos: str, roles: tuple[Role, ...]
) -> Frame:
    """`own` template and `eos` are the tokenizer's; they are named to be part of the cache's key."""
    marks = [f"\ue000{n}\ue001" for n in range(len(roles))]
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    text = _render(tokenizer, template, messages, opening=False)
    gaps, start = _gaps(text, marks, roles, eos)
    shorter: tuple[str, ...] = ()
    # From the shortest on, so that each dialogue finds the ones before it in the cache.
    for n in [n for n, role in enumerate(roles[:-1], 1) if role == "assistant"]:
        earlier = _frame(tokenizer, template, own, eos, roles[:n])
        if earlier.gaps != gaps[:n]:
            raise _inconsistent(f"it writes the first {n} messages in another way when more follow")
        shorter = earlier.before
    opening = _render(tokenizer, template, messages[:-1], opening=True)
    if not text[:start].startswith(opening):
        raise _inconsistent(f"its generation prompt is not what it writes before answer {len(roles)}")
    # What a template writes between its generation prompt and the answer (an empty <think> block, a line
    # end) belongs to the prompt, as no answer could choose it; mere spaces come from the answer's tokens.
    after = text[len(opening) : start]
    last = gaps[-1] if after.strip(" ") else gaps[-1].removesuffix(after)
    before = (*shorter, *gaps[len(shorter) : -1], last)
    return Frame(gaps, before, _begin(tokenizer, before[0]))


def _gaps(text: str, marks: list[str], roles: tuple[Role, ...], eos: str) -> tuple[tuple[str, ...], int]:
    """The text in front of each mark, and where the last mark begins."""
    gaps: list[str] = []
    start = end = 0
    for mark, role in zip(marks, roles, strict=True):
        start = text.find(mark, end)
        if start < 0 or text.count(mark) > 1:
            raise UserError(
                f"The chat template leaves out, moves or repeats message {len(gaps) + 1} ({role})."
            )
        gaps.append(text[end:start])
        end = start + len(mark)
        if role == "assistant" and text[end:].lstrip().startswith(eos):
            end = text.index(eos, end) + len(eos)  # the answer brings its own EOS
    return tuple(gaps), start


def _inconsistent(reason: str) -> UserError:
    return UserError(
        f"The chat template is not prefix-consistent ({reason}), so what is trained would differ from "
        "what is sampled; set another chat_template, or give dialogues of one answer each."
    )


def _begin(tokenizer: ChatTokenizer, text: str) -> tuple[int, ...]:
    if tokenizer.bos_token is None or text.startswith(tokenizer.bos_token):
        return ()
    own = list(tokenizer.encode("a", add_special_tokens=True))
    return (tokenizer.bos_token_id,) if own[:1] == [tokenizer.bos_token_id] else ()


def _render(
    tokenizer: ChatTokenizer, template: str | None, messages: list[dict[str, str]], *, opening: bool
) -> str:
    try:
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=opening
        )
    except Exception as error:  # a template is a program of its own and may raise anything
        roles = ", ".join(message["role"] for message in messages)
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"The chat template fails on the roles {roles}: {reason}.") from error
    return str(text)
