"""The shapes of what is answered, for the OpenAPI document; routes write them as plain JSON."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Reply(BaseModel):
    """The base of every response."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Usage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopLogprob(Reply):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Reply):
    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswer(Reply):
    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(Reply):
    index: int
    message: ChatAnswer
    finish_reason: Literal["stop", "length"]
    logprobs: ChatLogprobs | None
    reward: float | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class ChatReply(Reply):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionLogprobs(Reply):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(Reply):
    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: CompletionLogprobs | None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class CompletionReply(Reply):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class ModelReply(Reply):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    kind: Literal["language", "adapter", "reward"]
    fingerprint: str


class ModelList(Reply):
    object: Literal["list"]
    data: list[ModelReply]


class Embedding(Reply):
    index: int
    object: Literal["embedding"]
    embedding: list[float] | str


class EmbeddingUsage(Reply):
    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(Reply):
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class Score(Reply):
    index: int
    score: float


class ScoreReply(Reply):
    object: Literal["list"]
    model: str
    fingerprint: str
    data: list[Score]


class StepScores(Reply):
    object: Literal["steps"]
    model: str
    fingerprint: str
    kind: Literal["process", "prefix"]
    scores: list[float]
    score: float


class AnswerSteps(Reply):
    """`scores` of an answer's steps, and the offset in its text after the last character of each."""

    index: int
    ends: list[int]
    scores: list[float]
    score: float


class StepScoresReply(Reply):
    object: Literal["list"]
    model: str
    fingerprint: str
    data: list[AnswerSteps]


class Health(Reply):
    status: Literal["ok", "failing"]


Json = dict[str, Any]
