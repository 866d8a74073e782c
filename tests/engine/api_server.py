"""A real HTTP server in a thread, whose replies a test writes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Handle = Callable[["Api", int, dict[str, Any]], None]


class Api(BaseHTTPRequestHandler):
    """Hands every request's number and body to the test's function."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        with server.lock:
            number = len(server.seen)
            server.seen.append((self.path, dict(self.headers), body))
        server.handle(self, number, body)

    def reply(self, value: Any, status: int = 200, **headers: str) -> None:
        """Send JSON, or bytes as they are."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up on a bad reply is what the tests are about."""


@contextmanager
def serving(handle: Handle) -> Iterator[tuple[str, list[tuple[str, dict[str, str], dict[str, Any]]]]]:
    """Yield the server's base address and the list of requests (path, headers, body) that it has seen."""
    server: Any = _Server(("127.0.0.1", 0), Api)
    server.handle, server.seen, server.lock = handle, [], Lock()
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", server.seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
