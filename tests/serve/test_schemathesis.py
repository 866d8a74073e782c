"""Property-based requests from the OpenAPI document: no fault, only documented statuses, types and shapes."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from serve import live

EXAMPLES = int(os.environ.get("HEEDFUL_SCHEMATHESIS", "0"))
"""Set by `make test-openapi`: so many requests a route instead of a handful."""

CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    )
)


def test_the_document_holds(server: live.Live, tmp_path: Path) -> None:
    if find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed: pip install 'heedful[clients]'")
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    words += ["-H", f"Authorization: Bearer {live.KEY}", "--checks", CHECKS, "--seed", "1", "--no-color"]
    words += ["--max-examples", str(EXAMPLES or 3), "--continue-on-failure", "--warnings", "off"]
    words += ["--phases", "examples,coverage,fuzzing" if EXAMPLES else "examples,fuzzing"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert server.engine.alive
    assert server.metrics.responses.get(500) is None
