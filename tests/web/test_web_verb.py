"""`heedful studio` from the terminal: the first link, refusals in one sentence, and no torch."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from heedful.errors import UserError
from heedful.web.serve import language_of, serve
from heedful.web.settings import Settings, origin_of


def test_the_first_start_prints_a_link_that_works_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heedful", "studio", str(tmp_path / "f.db"), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline() + process.stderr.readline() + process.stderr.readline()
        link = re.search(r"(http://127\.0\.0\.1:\d+)/invitation/(\S+)", said)
        assert link is not None, said
        client = httpx.Client(base_url=link[1], trust_env=False, timeout=30)
        body = {"token": link[2], "name": "ada", "password": "a river runs south"}
        assert client.post("/api/accept", json=body).status_code == 200
        assert client.get("/people").status_code == 200
        assert client.get(f"/invitation/{link[2]}").status_code == 404
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_the_studio_never_loads_torch() -> None:
    heavy = "{'torch', 'transformers', 'matplotlib'}"
    code = f"import sys, heedful.web.serve; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_beyond_the_loopback_it_insists_on_https(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in the clear"):
        serve(str(tmp_path / "f.db"), host="0.0.0.0", port=0)
    with pytest.raises(UserError, match="both the certificate"):
        serve(str(tmp_path / "f.db"), host="127.0.0.1", port=0, key=tmp_path / "k.pem")
    with pytest.raises(UserError, match="en and zh"):
        language_of("de")
    assert not (tmp_path / "f.db").exists()


@pytest.mark.parametrize(
    "origin", ["judge.example", "ftp://judge.example", "https://judge.example/path", "https://"]
)
def test_an_origin_is_an_origin(origin: str) -> None:
    with pytest.raises(UserError, match="not an origin"):
        origin_of(origin, "127.0.0.1", 8400, secure=False)


def test_on_the_loopback_all_its_names_are_the_studio() -> None:
    settings = Settings("http://127.0.0.1:8400")
    assert settings.hosts == {"127.0.0.1:8400", "localhost:8400", "[::1]:8400"}
    assert Settings("https://judge.example").hosts == {"judge.example"}
