"""From a request to the answers that are wanted: rendered prompts, settings, keys."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heedful.data import chat, conditions
from heedful.engine.randomness import key
from heedful.engine.sampling import Sampling
from heedful.engine.stream import Ask
from heedful.errors import UserError
from heedful.panels.exchange import PanelModel, from_json
from heedful.panels.text import render
from heedful.serve.backend import Served
from heedful.serve.errors import ApiError
from heedful.serve.requests import ChatMessage, ChatRequest, Drawing, PanelPart
from heedful.types import Message

MAX_ANSWERS = 128
"""Of one request, over all its prompts."""


@dataclass(frozen=True)
class Plan:
    """What is asked of the engine: for each prompt `drawn` answers, of which `n` are returned."""

    prompts: tuple[tuple[int, ...], ...]
    asks: tuple[Ask, ...]
    stop: tuple[str, ...]
    n: int
    drawn: int


def plan(
    served: Served,
    request: Drawing,
    prompts: Sequence[tuple[int, ...]],
    *,
    longest: int | None,
    logprobs: int | None,
    schema: dict[str, Any] | None = None,
) -> Plan:
    """Check a request against the model's limits and make its asks; `longest` None is all the room there is."""
    n = request.n or 1
    drawn = max(n, request.best_of or n)
    if request.best_of is not None and request.best_of < n:
        raise ApiError(f"best_of must be at least n, which is {n}", param="best_of")
    if drawn * len(prompts) > MAX_ANSWERS:
        raise ApiError(f"at most {MAX_ANSWERS} answers are drawn for one request", param="n")
    if drawn > n and request.stream:
        raise ApiError("best_of cannot be streamed: the best is known at the end only", param="best_of")
    if drawn > n and request.reward is None and logprobs is None:
        logprobs = 0  # the best are those of the highest mean log-prob
    how, bias = drawing(request), biases(served, request)
    stop = frozenset([*served.stop, *(request.stop_token_ids or ())])
    seed = secrets.randbits(62) if request.seed is None else request.seed
    asks = []
    for number, prompt in enumerate(prompts):
        room = check_room(served, prompt, longest)
        for j in range(drawn):
            grammar = None if schema is None else served.constraints.json(schema)
            k = key("serve", seed, number * drawn + j)
            asks.append(Ask(prompt, k, how, room, stop, logprobs, bias, grammar))
    return Plan(tuple(prompts), tuple(asks), request.stops(), n, drawn)


def check_room(served: Served, prompt: Sequence[int], longest: int | None) -> int:
    """How many tokens an answer to this prompt may have."""
    check_ids(served, prompt)
    room = served.context - len(prompt)
    if room < (1 if longest is None else longest):
        raise ApiError(
            f"the model's context holds {served.context} tokens; the prompt has {len(prompt)}, and "
            f"{'some' if longest is None else longest} are asked for",
            param="messages" if longest is None else "max_tokens",
            code="context_length_exceeded",
        )
    if longest is None:
        return min(room, served.longest)
    if longest > served.longest:
        raise ApiError(f"answers have at most {served.longest} tokens here", param="max_tokens")
    return longest


def check_ids(served: Served, ids: Sequence[int]) -> None:
    """Refuse texts that the model cannot read."""
    if not ids:
        raise ApiError("the prompt has no tokens", param="prompt")
    if max(ids) >= served.vocabulary:
        raise ApiError(f"the model has {served.vocabulary} tokens, so there is no {max(ids)}", param="prompt")
    if len(ids) > served.context:
        raise ApiError(
            f"the model's context holds {served.context} tokens; the text has {len(ids)}",
            code="context_length_exceeded",
        )


def drawing(request: Drawing) -> Sampling:
    """How tokens are drawn."""
    top_k = request.top_k or 0
    return Sampling(
        max_completion_length=1,  # lengths are the asks': equal settings are drawn together
        temperature=1.0 if request.temperature is None else request.temperature,
        top_k=max(top_k, 0),
        top_p=1.0 if request.top_p is None else request.top_p,
        min_p=request.min_p or 0.0,
        repetition_penalty=1.0 if request.repetition_penalty is None else request.repetition_penalty,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
    )


def biases(served: Served, request: Drawing) -> tuple[tuple[int, float], ...]:
    """What is added to the logits of single tokens."""
    found = []
    for name, value in (request.logit_bias or {}).items():
        if not (name.isascii() and name.isdigit()) or len(name) > 9 or int(name) >= served.vocabulary:
            raise ApiError("the names in logit_bias must be token ids of the model", param="logit_bias")
        found.append((int(name), value))
    return tuple(found)


def encoded(served: Served, text: str) -> tuple[int, ...]:
    """The tokens of a plain text, as the tokenizer makes them for a model."""
    limit(served, text)
    return tuple(served.tokenizer.encode(text, verbose=False))


def limit(served: Served, text: str) -> None:
    """Refuse what is far too long before it is encoded."""
    if len(text) > 64 * served.context:
        raise ApiError(
            f"the text is far longer than the model's context of {served.context} tokens",
            code="context_length_exceeded",
        )


def dialogue(request_messages: Sequence[ChatMessage], before: Sequence[str] = ()) -> tuple[Message, ...]:
    """The messages of a request; texts that stand `before` them open the system message."""
    found = [Message("system" if m.role == "developer" else m.role, m.text()) for m in request_messages]
    if before:
        own = [found.pop(0).content] if found and found[0].role == "system" else []
        found.insert(0, Message("system", "\n\n".join([*before, *own])))
    return tuple(found)


def chat_messages(served: Served, request: ChatRequest) -> tuple[Message, ...]:
    """The messages of a chat request, with its panel as system text; before it the condition of a plain model."""
    spoken = "" if conditions.known_to(served.tokenizer) else request.condition or ""
    return dialogue(request.messages, [text for text in (spoken, *panel_texts(request.panel)) if text])


def panel_texts(panel: str | PanelModel | Sequence[PanelPart] | None) -> list[str]:
    """A panel as text: its canonical form, or the given texts as they are."""
    if panel is None or isinstance(panel, str):
        return [panel or ""]
    if isinstance(panel, PanelModel):
        return [render(from_json(panel.model_dump()))]
    return [f"{part.title}\n{part.text}" if part.title else part.text for part in panel]


def chat_prompt(served: Served, messages: Sequence[Message], condition: str | None = None) -> tuple[int, ...]:
    """The tokens of a dialogue; the template is the model's own, and asks for the condition if it knows any."""
    for message in messages:
        limit(served, message.content)
    template = None
    if condition and conditions.known_to(served.tokenizer):
        try:
            template = conditions.asking(served.tokenizer, condition)
        except UserError as error:
            raise ApiError(str(error), param="condition") from error
    return chat.render_prompt(served.tokenizer, messages, template)
