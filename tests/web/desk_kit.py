"""A model's server for the desk's tests: knows three plans, writes what is planned, and says who is tired."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Model(BaseHTTPRequestHandler):
    """Answers as a model trained on panels would."""

    def do_GET(self) -> None:
        self._reply(json.dumps({"data": [{"id": "scripted"}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.seen.append(body)
        if "response_format" in body and not server.forms:
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "no response_format here"}}')
            return
        if server.broken or (self.path.endswith("/rank") and not server.ranks):
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "the context holds 256 tokens"}}')
            return
        if self.path.endswith("/rank"):
            order = sorted(range(len(body["answers"])), key=lambda i: -len(body["answers"][i]))
            self._reply(json.dumps({"data": [{"index": i, "score": 0.0} for i in order]}))
            return
        text = server.garbled or answer(body)
        if "response_format" in body:
            text = json.dumps({"lines": text.split("\n")})
        if not body.get("stream"):
            self._reply(json.dumps({"choices": [{"message": {"content": text}}]}))
            return
        pieces = [
            json.dumps({"choices": [{"delta": {"content": text[i : i + 7]}}]}) for i in range(0, len(text), 7)
        ]
        self._reply("".join(f"data: {p}\n\n" for p in [*pieces, "[DONE]"]))

    def _reply(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


def answer(body: dict[str, Any]) -> str:
    """What the model says to a request."""
    asked: str = body["messages"][-1]["content"]
    if asked.endswith("What comes next?"):
        return ("plan Mina goes home", "plan Mina sings\nplan Tom sleeps", "plan Tom runs")[body["seed"] % 3]
    if asked.endswith("Answer with its number alone."):
        return "I would take plan 3."
    if asked == "What has changed?":
        return f"lately {body['messages'][-2]['content']}\nperson Mina: tired\nI hope this helps!"
    plan = [line.removeprefix("plan ") for line in asked.split("\n") if line.startswith("plan ")]
    return " ".join(f"{line}." for line in plan)


@contextmanager
def model() -> Iterator[Any]:
    """The server, running; `.url`, `.seen` requests, `.broken`, `.ranks` and `.forms` to make it refuse.

    `.garbled` is what it answers, whatever it is asked.
    """
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.seen, server.broken, server.ranks, server.forms, server.garbled = [], False, True, True, ""
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
