"""Show which tokens of a data file are trained on, in colour."""

from itertools import groupby, islice
from pathlib import Path

from rich.console import Console
from rich.text import Text

from heedful.data import chat
from heedful.data.formats import read_conversations
from heedful.nn import hub


def show(data: Path, tokenizer: str, rows: int) -> None:
    """Print the first dialogues of `data`: trained text is green, and between ⟦⟧ where there is no colour."""
    loaded = hub.load_tokenizer(tokenizer)
    chat.ensure_chat_template(loaded)
    console = Console(highlight=False, soft_wrap=True)
    colourless = console.no_color or not console.is_terminal
    for dialogue in islice(read_conversations(data), rows):
        rendered = chat.render(loaded, dialogue.messages)
        line = Text()
        for trained, pieces in groupby(chat.pieces(loaded, rendered), key=lambda piece: piece[1]):
            text = "".join(map(visible, "".join(text for text, _ in pieces)))
            marked = f"⟦{text}⟧" if trained and colourless else text
            line.append(marked, style="bold green" if trained else "dim")
        console.print(line)
        console.print(f"{sum(rendered.mask)} of {len(rendered.ids)} tokens are trained on\n", style="dim")


def visible(character: str) -> str:
    """The character itself, or a sign in place of one that a terminal would obey."""
    return character if character.isprintable() or character in "\n\t" else "\N{REPLACEMENT CHARACTER}"
