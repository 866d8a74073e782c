"""Show which tokens of a data file are trained on, in colour."""

from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.text import Text

from heedful.data import chat
from heedful.data.formats import read_conversations
from heedful.nn import hub


def show(data: Path, tokenizer: str, rows: int) -> None:
    """Print the first dialogues of `data`: trained tokens in green on a line of their own colour, the rest dim."""
    loaded = hub.load_tokenizer(tokenizer)
    chat.ensure_chat_template(loaded)
    console = Console(highlight=False)
    for dialogue in islice(read_conversations(data), rows):
        rendered = chat.render(loaded, dialogue.messages)
        line = Text()
        for text, trained in chat.pieces(loaded, rendered):
            line.append(text, style="bold green" if trained else "dim")
        console.print(line)
        console.print(
            f"{sum(rendered.mask)} of {len(rendered.ids)} tokens are trained on (green)\n", style="dim"
        )
