"""Bad input at every address: never a 5xx, never a traceback. `make fuzz-studio` sends 20,000 requests and more."""

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web_kit import QUESTIONS, Running, running

EXAMPLES = int(os.environ.get("HEEDFUL_FUZZ", "3"))
"""Requests for each operation, question and kind of file; 600 make more than 20,000."""

CALM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
PAGES = (
    "/work",
    "/batches",
    "/batches/{}",
    "/gold/{}",
    "/people",
    "/statistics",
    "/disputed",
    "/demonstrations",
    "/files",
    "/me",
)
PAGES += ("/enter", "/invitation/{}", "/static/{}/{}", "/api/export/{}", "/{}")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio that takes everything, with somebody for whom nothing is closed."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with running(folder) as made:
        yield made
    print(f"{sum(SENT.values())} requests, by status: {dict(sorted(SENT.items()))}")


SENT: Counter[int] = Counter()


def _checked(response: httpx.Response | Any, sent: object) -> None:
    SENT[response.status_code] += 1
    assert response.status_code < 500, (response.status_code, sent)
    assert b"Traceback" not in response.content, sent
    assert b"heedful/web" not in response.content, sent


def test_every_operation_of_the_schema(studio: Running) -> None:
    schema = schemathesis.openapi.from_dict(studio.app.openapi())
    client = studio.client("ada")
    session = {"heedful-session": client.cookies["heedful-session"]}
    token = client.headers["x-csrf-token"]
    for result in schema.get_all_operations():
        operation = result.ok()

        @CALM
        @given(case=operation.as_strategy())
        def attack(case: Any) -> None:
            # Leaving would end the session that all others need.
            if case.path in ("/api/leave", "/api/leave-everywhere", "/api/password"):
                return
            response = case.call(base_url=studio.origin, cookies=session, headers={"x-csrf-token": token})
            _checked(response, case.as_curl_command())

        attack()


@pytest.mark.parametrize("question", QUESTIONS)
def test_replies_that_are_nearly_right(studio: Running, question: str) -> None:
    client = studio.client("ann")
    fields = (
        "ratings",
        "order",
        "choices",
        "steps",
        "finish_reason",
        "alternatives",
        "text",
        "plan",
        "flags",
        "comment",
    )
    replies = st.dictionaries(st.sampled_from(fields), anything, max_size=4)
    number = st.integers(-5, 12)
    near = st.fixed_dictionaries(
        {},
        optional={
            "ratings": st.dictionaries(
                st.sampled_from(["overall", "x"]), st.lists(number | st.none(), max_size=7)
            ),
            "order": st.lists(st.lists(number, max_size=3), max_size=7),
            "choices": st.dictionaries(st.sampled_from(["overall", "x"]), number),
            "steps": st.lists(number, max_size=6),
            "plan": number | st.none(),
            "text": st.text(max_size=30),
        },
    )
    given_task = client.get(f"/api/work/next?batch=q-{question}").json().get("assignment")
    task = given_task["task"] if given_task else "gone"

    @CALM
    @given(reply=replies | near, version=st.integers(0, 3), drafts=st.booleans())
    def attack(reply: dict[str, Any], version: int, drafts: bool) -> None:
        body: dict[str, Any] = {"task": task, "uuid": str(uuid.uuid4()), "version": version, "reply": reply}
        path = "/api/work/submit"
        if drafts:
            path, body = "/api/work/draft", {"task": task, "draft": reply}
        try:
            response = client.post(path, json=body)
        except (ValueError, UnicodeEncodeError):
            return  # what JSON cannot say (NaN, a lone surrogate) no page sends this way
        _checked(response, body)

    attack()


def test_pages_with_strange_parts(studio: Running) -> None:
    client = studio.client("ada")
    part = st.text(max_size=30) | st.sampled_from(["..", "%00", "%2e%2e", "\u202e", "a" * 300, "q-rank"])

    @CALM
    @given(
        page=st.sampled_from(PAGES),
        parts=st.tuples(part, part),
        query=st.dictionaries(part, part, max_size=2),
    )
    def attack(page: str, parts: tuple[str, str], query: dict[str, str]) -> None:
        from urllib.parse import quote

        path = page.format(*(quote(one, safe="%", errors="replace") for one in parts))
        safe = {key: value for key, value in query.items() if (key + value).isprintable()}
        _checked(client.get(path, params=safe), path)

    attack()


def test_bodies_that_are_no_json(studio: Running) -> None:
    client = studio.client("ada")
    paths = [
        path
        for path, methods in studio.app.openapi()["paths"].items()
        if "post" in methods and "{" not in path
    ]
    raw = st.binary(max_size=60) | st.sampled_from(
        [b'{"task": "\\ud800"}', b"NaN", b"[" * 5000, b'{"a":1e999}', b""]
    )

    @CALM
    @given(path=st.sampled_from(sorted(set(paths) - {"/api/leave", "/api/leave-everywhere"})), body=raw)
    def attack(path: str, body: bytes) -> None:
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        _checked(response, (path, body))

    attack()


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".txt", ".parquet", ".jsonl.gz"])
@pytest.mark.parametrize("kind", ["prompts", "judgements"])
def test_files_that_are_broken(studio: Running, ending: str, kind: str) -> None:
    client = studio.client("ada")
    lines = st.binary(max_size=120) | st.sampled_from(
        [
            b'{"prompt": "x", "answers": [1]}',
            b'{"prompt": {}}',
            b"\x1f\x8b\x08\x00",
            b'{"prompt":"\\ud800"}',
            b"PAR1PAR1",
        ]
    )

    @CALM
    @given(content=lines)
    def attack(content: bytes) -> None:
        response = client.post(f"/api/import?name=../../x{ending}&kind={kind}", content=content)
        _checked(response, content)

    attack()
