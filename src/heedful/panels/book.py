"""A story as Markdown, as EPUB and as steps to learn from; and a book cut into passages."""

import html
import io
import re
import uuid
import zipfile
from collections.abc import Sequence

from heedful.panels import desk
from heedful.panels.exchange import Step

_SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？]+[”’\"'」』）)]*\s*|[^\n]+\n?|\n+")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['’-][^\W\u3400-\u9fff]+)*")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MIMETYPE = "application/epub+zip"


def split(text: str, characters: int = 600) -> list[str]:
    """A text as passages of about so many characters: whole paragraphs, and of long ones whole sentences.

    A passage holds at most `characters`, unless one sentence is longer. Nothing but white space at the seams is lost.
    """
    found: list[str] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        pieces = [paragraph] if len(paragraph) <= characters else _SENTENCE.findall(paragraph)
        for number, piece in enumerate(pieces):
            if current and len(current) + len(piece) > characters:
                found.append(current.strip())
                current = ""
            current += ("\n\n" if number == 0 and current else "") + piece
    found.append(current.strip())
    return [passage for passage in found if passage]


def word_list(text: str) -> list[str]:
    """The words of a text; of Chinese, the characters."""
    return _WORD.findall(text)


def words(text: str) -> int:
    """How many words a text has; of Chinese, how many characters."""
    return len(word_list(text))


def markdown(story: desk.Desk) -> str:
    """Title and passages."""
    return f"# {story.title}\n\n" + "\n\n".join(desk.passages(story)) + "\n"


def steps(story: desk.Desk, name: str, model: str = "") -> list[Step]:
    """The story's turns as steps to learn from; their panels are the model's where no person has edited them."""
    turns = [turn for turn in desk.path(story) if turn.passage]
    return [
        Step(
            name,
            n,
            t.passage,
            t.before,
            t.after,
            story.condition,
            source="person" if t.edited else "model",
            model=model,
        )
        for n, t in enumerate(turns)
    ]


def epub(title: str, passages: Sequence[str], lang: str = "en") -> bytes:
    """A book of one chapter in EPUB 3. The same story gives the same bytes.

    Characters that XML may not hold, which a model can write, are left out.
    """
    title, passages = _NO_XML.sub("", title), [_NO_XML.sub("", p) for p in passages]
    body = "\n".join(
        f"<p>{html.escape(line)}</p>" for p in passages for line in p.split("\n") if line.strip()
    )
    name = html.escape(title)
    identity = uuid.uuid5(uuid.NAMESPACE_URL, title + "\n" + "\n".join(passages))
    page = (
        '<?xml version="1.0" encoding="utf-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml" '
        'xmlns:epub="http://www.idpf.org/2007/ops" xml:lang="{lang}" lang="{lang}"><head><title>{name}</title></head>'
        "<body>{body}</body></html>\n"
    )
    contents = f'<nav epub:type="toc"><ol><li><a href="text.xhtml">{name}</a></li></ol></nav>'
    package = (
        '<?xml version="1.0" encoding="utf-8"?>\n<package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
        f'unique-identifier="id" xml:lang="{lang}"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">urn:uuid:{identity}</dc:identifier><dc:title>{name}</dc:title>'
        f'<dc:language>{lang}</dc:language><meta property="dcterms:modified">2000-01-01T00:00:00Z</meta></metadata>'
        '<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="text" href="text.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="text"/></spine></package>\n'
    )
    container = (
        '<?xml version="1.0"?>\n<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>\n"
    )
    files = {
        "mimetype": _MIMETYPE,  # first and not compressed: that is how readers know an EPUB
        "META-INF/container.xml": container,
        "OEBPS/content.opf": package,
        "OEBPS/nav.xhtml": page.format(lang=lang, name=name, body=contents),
        "OEBPS/text.xhtml": page.format(lang=lang, name=name, body=f"<h1>{name}</h1>\n{body}"),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, (2000, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_STORED if path == "mimetype" else zipfile.ZIP_DEFLATED
            book.writestr(entry, content)
    return out.getvalue()
