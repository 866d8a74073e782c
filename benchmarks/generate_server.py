"""The server that `benchmarks/serve.py` compares with: transformers' `generate`, a request at a time, streamed.

python benchmarks/generate_server.py MODEL PORT
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import BaseStreamer

TURN = threading.Lock()


class Lines(BaseStreamer):  # type: ignore[misc]
    """Sends every token as an event when it is drawn."""

    def __init__(self, handler: "Handler") -> None:
        self.handler, self.prompt = handler, True

    def put(self, value: Any) -> None:
        if self.prompt:
            self.prompt = False
            return
        choice = {"index": 0, "text": self.handler.tokenizer.decode(value.tolist()), "finish_reason": None}
        self.handler.event({"choices": [choice]})

    def end(self) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    model: Any
    tokenizer: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        ids = torch.tensor([body["prompt"]])
        with TURN, torch.inference_mode():
            self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                max_new_tokens=body["max_tokens"],
                min_new_tokens=body["max_tokens"],
                streamer=Lines(self),
            )
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    """Load the model and serve until the process is ended."""
    source, port = sys.argv[1], int(sys.argv[2])
    Handler.model = AutoModelForCausalLM.from_pretrained(source).eval()
    Handler.tokenizer = AutoTokenizer.from_pretrained(source)
    ThreadingHTTPServer.request_queue_size = 1024
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
