"""What litellm gets from a server: python litellm_client.py URL KEY."""

import asyncio
import sys
from typing import Any

import litellm

url, key = sys.argv[1:]
asked: dict[str, Any] = {
    "model": "openai/tiny",
    "messages": [{"role": "user", "content": "the cat"}],
    "api_base": url,
    "api_key": key,
    "max_tokens": 12,
    "seed": 3,
    "num_retries": 0,
}
whole = litellm.completion(**asked)
text = whole.choices[0].message.content
assert whole.usage.completion_tokens > 0
chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
assert any(
    getattr(c, "usage", None) and c.usage.completion_tokens == whole.usage.completion_tokens for c in chunks
)
assert asyncio.run(litellm.acompletion(**asked)).choices[0].message.content == text
said = ""
try:
    litellm.completion(**{**asked, "model": "openai/moon"})
except litellm.NotFoundError as error:
    said = str(error)
assert "moon" in said
print("all as it should be")
