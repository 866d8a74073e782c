"""Screenshots of every page of the studio, light and dark, into docs/screenshots/: `make screenshots`."""

import io
import random
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "web"))

from browser_kit import chromium  # noqa: E402
from web_kit import Running, add_person  # noqa: E402

from heedful.data.store import Store  # noqa: E402
from heedful.people import Assignment, BatchSettings, NewTask, Queue, Reply, Stop  # noqa: E402
from heedful.types import Answer, Message, Prompt  # noqa: E402

OUT = HERE / "screenshots"
DESK, PHONE = (1280, 860), (390, 844)

SEA = [
    "Rain is a little bit sour. It nibbles tiny bits of salt from the rocks, rivers carry them to the sea, and when "
    "the sun lifts water into the air again, the salt stays behind. Over millions of years it adds up.",
    "The salinity of seawater, about 35 g/kg, results from the weathering of silicate rocks and hydrothermal flux.",
    "Because fish cry a lot, and their tears are salty.",
    "Rivers bring salt from the land. The sea keeps it, because only water evaporates.",
    "Nobody knows why the sea is salty.",
    "Imagine a bathtub: every day a spoon of salt comes in with the tap, and only water leaves through the window.",
]
TEXTS: dict[str, tuple[str, list[str]]] = {
    "rank": ("Explain to a ten-year-old why the sea is salty.", SEA),
    "compare": ("Explain to a ten-year-old why the sea is salty.", [SEA[0], SEA[1]]),
    "steps": (
        "A farmer has 12 eggs and eats 3. She fills boxes of 3 with the rest. How many boxes does she need?",
        [
            "She starts with 12 eggs.\nShe eats 3, so 12 - 3 = 9 are left.\n"
            "Each box holds 3, so 9 / 3 = 4.\nShe needs 4 boxes."
        ],
    ),
    "demonstrate": ("My neighbour is ill and lives alone. How can I help without being a bother?", []),
    "edit": (
        "Write two lines to thank a teacher who retires.",
        ["Thanks for everything you teached us. We wont forget you and wish you a good retirement."],
    ),
    "panel": (
        "Read the passage and the panel made from it.",
        [
            "People: Mara, 14, a ferryman's daughter; her father, who has not spoken since the flood.\n"
            "Places: the river mouth; the closed customs house.\nMemory: the letter was hidden under the floor.\n"
            "Plan: Mara finds the letter while the tide is out."
        ],
    ),
    "plan": (
        "Mara stands before the customs house. The tide is going out. What happens next?",
        [
            "She finds the letter, but the ink has run: only one name can still be read.",
            "Her father comes after her and speaks his first word since the flood.",
            "The house is not empty. Somebody has been living there.",
        ],
    ),
}


def fill(store: Store) -> None:
    """Tasks of every kind, some people, and what they said."""
    queue, rng = Queue(store), random.Random(3)
    for question, (text, answers) in TEXTS.items():
        tasks = []
        for n in range(14):
            said = text if n == 0 else f"{text} ({n})"
            prompt = Prompt(f"{question}-{n}", (Message("user", said),))
            store.add_prompts([prompt])
            made = [
                Answer(f"{prompt.id}-{k}", prompt.id, a, ("sft", "dpo", "rl")[k % 3])
                for k, a in enumerate(answers)
            ]
            store.add_answers(made)
            tasks.append(NewTask(prompt.id, tuple(one.id for one in made)))
        criteria = ("overall", "helpful", "honest") if question == "compare" else ("overall",)
        settings = BatchSettings(
            question=question,  # type: ignore[arg-type]
            criteria=criteria,
            overlap=3,
            gold_rate=0.1 if question == "compare" else 0.0,
            instructions="Read everything first.\n\n- **Right** beats *fluent*.\n- A child should understand it.",
            stop=Stop(judgements=400),
        )
        queue.create_batch(question, TITLES[question], settings, tasks)
    for who, text in (("wen", WRITTEN[0]), ("ines", WRITTEN[1])):
        given = queue.claim(who, "demonstrate")
        assert isinstance(given, Assignment)
        queue.submit(who, given.task, Reply.parse({"text": text}), uuid=uuid.uuid4(), version=0, seconds=180)
    queue.set_state("edit", "paused", "waiting for the next round")
    for who, skill in (("wen", 0.9), ("ines", 0.8), ("tom", 0.6)):
        for batch in ("compare", "rank", "steps"):
            for _ in range(9):
                given = queue.claim(who, batch)
                if isinstance(given, Assignment):
                    reply = Reply.parse(_reply(given, skill, rng))
                    seconds = rng.uniform(8, 70)
                    queue.submit(
                        who, given.task, reply, uuid=uuid.uuid4(), version=given.version, seconds=seconds
                    )


WRITTEN = (
    "Ring once, say that you are going to the shop anyway, and ask what is missing. Small and certain beats grand.",
    "You could bring soup and leave it at the door with a note, so that nobody has to get up.",
)

TITLES = {
    "rank": "Round 1: rankings",
    "compare": "Round 1: pairs",
    "steps": "Word problems",
    "demonstrate": "Demonstrations",
    "edit": "Edits",
    "panel": "Panels",
    "plan": "Plans",
}


def _reply(given: Assignment, skill: float, rng: random.Random) -> dict[str, Any]:
    def worth(text: str) -> float:
        return -SEA.index(text) + rng.gauss(0, 3 * (1 - skill)) if text in SEA else rng.random()

    order = sorted(range(len(given.answers)), key=lambda at: -worth(given.answers[at].text))
    if given.question == "compare":
        strength = rng.choice((1, 2, 3)) * (1 if order[0] == 0 else -1)
        return {"choices": {"overall": strength, "helpful": strength}}
    if given.question == "rank":
        marks = [max(1, 7 - order.index(at)) for at in range(len(order))]
        return {"ratings": {"overall": marks}, "order": [[at] for at in order]}
    if rng.random() < skill:
        return {"steps": [1, 1, -1], "finish_reason": "found_error"}
    return {"steps": [1, 1, 1, 0], "finish_reason": "solution"}


def shoot(page: Page, name: str, scheme: str, *, whole: bool = False) -> None:
    """Save what the page shows as a small picture."""
    page.wait_for_timeout(250)
    raw = page.screenshot(full_page=whole)
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, 1700)))
    picture.save(OUT / f"{name}-{scheme}.webp", quality=72, method=6)


def work_pages(server: Running, browser: Browser, scheme: str) -> None:
    """The page where people judge, with each kind of question."""
    name = "wei" if scheme == "light" else "li"
    for question in TEXTS:
        for other in TEXTS:
            server.studio.queue.set_state(other, "open" if other == question else "paused")
        page = _page(server, browser, name, scheme)
        page.goto(server.origin + "/work")
        page.wait_for_selector("body[data-ready]")
        for key in {"compare": "2", "steps": "113", "panel": "6", "plan": "2"}.get(question, ""):
            page.keyboard.press(key)
        shoot(page, question, scheme)
        if question == "rank":
            for key in "754526":
                page.keyboard.press(key)
            page.keyboard.press("Enter")
            shoot(page, "ranking", scheme)
        held = server.studio.queue.claim(name)
        assert isinstance(held, Assignment)
        server.studio.queue.release(name, held.lease)
        page.context.close()
    for other in TEXTS:
        server.studio.queue.set_state(other, "open")


def _page(
    server: Running, browser: Browser, name: str, scheme: str, size: tuple[int, int] = DESK, **more: Any
) -> Page:
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, **more)  # type: ignore[arg-type]
    if name:
        context.add_cookies(
            [{"name": "heedful-session", "value": server.session(name), "url": server.origin}]
        )
    return context.new_page()


def main() -> None:
    """Make all pictures anew."""
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("*.webp"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "feedback.db") as store:
        server = Running(store)
        add_person(server.studio, "ada", "administrator")
        for name in ("wen", "ines", "tom", "wei", "li"):
            add_person(server.studio, name)
        fill(store)
        server.start()
        with chromium() as browser:
            for scheme in ("light", "dark"):
                work_pages(server, browser, scheme)
                page = _page(server, browser, "ada", scheme)
                for path in ("batches", "people", "statistics", "disputed", "demonstrations", "files", "me"):
                    page.goto(f"{server.origin}/{path}")
                    shoot(page, path, scheme, whole=path == "statistics")
                page = _page(server, browser, "", scheme, (900, 620))
                page.goto(server.origin + "/enter")
                shoot(page, "enter", scheme)
                token = server.studio.accounts.invite("annotator", made_by="ada")
                page.goto(f"{server.origin}/invitation/{token}")
                shoot(page, "invitation", scheme)
                server.studio.accounts.change("wei", language="zh")
                page = _page(server, browser, "wei", scheme, PHONE, has_touch=True, is_mobile=True)
                page.goto(server.origin + "/work")
                page.wait_for_selector("body[data-ready]")
                shoot(page, "phone-chinese", scheme)
                server.studio.accounts.change("wei", language="en")
        server.stop()
    total = sum(file.stat().st_size for file in OUT.glob("*.webp"))
    print(f"{len(list(OUT.glob('*.webp')))} pictures, {total / 1000:.0f} kB, in {OUT}")


if __name__ == "__main__":
    main()
