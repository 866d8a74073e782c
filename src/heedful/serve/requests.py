"""What a client may ask: OpenAI's fields and a few of ours, each with its bounds. Unknown fields are errors."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from heedful.panels.exchange import PanelModel

MAX_CHARACTERS = 1 << 21

Text = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
Ids = Annotated[list[TokenId], Field(min_length=1, max_length=1 << 17)]


class Body(BaseModel):
    """The base of every request."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Drawing(Body):
    """How tokens are drawn, how many answers there are and when they end."""

    model: Name
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    max_tokens: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 20)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    logit_bias: (
        Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=300)] | None
    ) = None
    stream: bool | None = None
    stream_options: "StreamOptions | None" = None
    user: Annotated[str, StringConstraints(max_length=256)] | None = None
    best_of: Annotated[int, Field(ge=1, le=16)] | None = None
    reward: Name | None = None
    return_token_ids: bool | None = None

    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class StreamOptions(Body):
    """`include_usage` asks for a last chunk with the number of tokens."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Part(Body):
    """A part of a message; text is the only kind."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    """A message of a dialogue."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(min_length=1, max_length=256)]
    name: Annotated[str, StringConstraints(max_length=256)] | None = None

    def text(self) -> str:
        """The whole content."""
        return self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]


class JsonSchema(Body):
    """A schema by name, as OpenAI's clients send it."""

    name: Annotated[str, StringConstraints(max_length=256)]
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool | None = None


class ResponseFormat(Body):
    """Free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class PanelPart(Body):
    """One material that an answer is to be written from."""

    title: Annotated[str, StringConstraints(max_length=256)] = ""
    text: Text


def _form(panel: Any) -> str:
    """In which form a panel is given, so that an error is about that one."""
    return (
        "tagged-panel"
        if isinstance(panel, dict | PanelModel)
        else "tagged-list"
        if isinstance(panel, list)
        else "tagged-text"
    )


GivenPanel = Annotated[
    Annotated[Text, Tag("tagged-text")]
    | Annotated[PanelModel, Tag("tagged-panel")]
    | Annotated[list[PanelPart], Field(max_length=64), Tag("tagged-list")],
    Discriminator(_form),
]


class ChatRequest(Drawing):
    """`condition` is what the chat template of a model that was trained on conditions asks for.

    For another model it becomes system text, and so does `panel` (assigned materials).
    """

    messages: Messages
    max_completion_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    condition: Annotated[str, StringConstraints(max_length=4096)] | None = None
    panel: GivenPanel | None = None
    metadata: (
        Annotated[dict[str, Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)] | None
    ) = None
    store: Literal[False] | None = None


Prompts = Annotated[list[Text], Field(min_length=1, max_length=16)]


class CompletionRequest(Drawing):
    """Text that goes on; `echo` repeats the prompt, with its log-probs where `logprobs` asks for any."""

    prompt: Text | Prompts | Ids | Annotated[list[Ids], Field(min_length=1, max_length=16)]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    suffix: Literal[""] | None = None


class EmbeddingRequest(Body):
    """Texts or token ids to embed."""

    model: Name
    input: Text | Prompts | Ids | Annotated[list[Ids], Field(min_length=1, max_length=16)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    user: Annotated[str, StringConstraints(max_length=256)] | None = None


class ScoredItem(Body):
    """A dialogue whose last message is the answer to be scored."""

    messages: Messages


class ScoreRequest(Body):
    """Dialogues to score."""

    model: Name | None = None
    items: Annotated[list[ScoredItem], Field(min_length=1, max_length=256)]


Answers = Annotated[list[Text], Field(min_length=1, max_length=64)]


class RankRequest(Body):
    """Answers to one dialogue, to be put in order."""

    model: Name | None = None
    messages: Messages
    answers: Answers


class StepsRequest(Body):
    """The steps of one answer, to be scored one by one; `separator` stands between them in the answer."""

    model: Name | None = None
    messages: Messages
    steps: Answers
    separator: Annotated[str, StringConstraints(max_length=16)] = "\n"


def _told(body: Any) -> str:
    return "tagged-items" if isinstance(body, ScoreRequest) or "items" in body else "tagged-steps"


StepsBody = Annotated[
    Annotated[StepsRequest, Tag("tagged-steps")] | Annotated[ScoreRequest, Tag("tagged-items")],
    Discriminator(_told),
]
"""The steps of one answer, or whole answers, which the model cuts into steps by itself."""
