"""The page stands alone, shows any text harmlessly, and says only what was measured."""

import json
import re
import shutil
import string
from html.parser import HTMLParser
from pathlib import Path

import fake_run
import pytest

from heedful.report import chinese, english, figures, page, run, style, wording
from heedful.stages import report


def html_of(folder: Path, lang: str = "en") -> str:
    found = run.read(folder)
    summary = figures.summary(found, command="heedful demo", peak_memory_bytes=1_900_000_000)
    return page.render(found, summary, "zh" if lang == "zh" else "en")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run.build(tmp_path_factory.mktemp("run") / "demo", rounds=2, text=fake_run.HOSTILE)


@pytest.fixture(scope="module")
def html(demo: Path) -> str:
    return html_of(demo)


class Reader(HTMLParser):
    """Tags, attributes, and the text of chosen elements."""

    def __init__(self, text_of: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self._wanted, self._inside = text_of, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag in self._wanted:
            self._inside += 1
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside -= tag in self._wanted

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


def test_the_page_needs_nothing_from_outside_and_runs_nothing(html: str) -> None:
    assert not re.search(r"https?://|@import|//[a-z]+\.", html)
    reader = Reader()
    reader.feed(html)
    assert not {"script", "iframe", "object", "img", "textarea", "base", "form"} & set(reader.tags)
    for name, value in reader.attributes:
        assert not name.startswith("on"), name
        if name in ("src", "href"):
            assert value.startswith(("#", "data:")), value
    assert all(re.fullmatch(r"#\w+", u) for u in re.findall(r"url\((.*?)\)", html))
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    assert len(html.encode()) < 2_000_000


def test_what_a_model_wrote_is_shown_and_never_run(html: str) -> None:
    assert "&lt;/p&gt;&lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror" in html
    assert "🦊 مرحبا &amp; &#34;q&#34;" in html
    assert not re.search("[\x00-\x08\x0b-\x1f\u202d\u202e\ud800-\udfff]", html)
    assert "\u2400" in html
    html.encode("utf-8")


def test_a_hostile_task_reaches_plots_and_headings_escaped(tmp_path: Path) -> None:
    result = fake_run.evaluation()
    for policy in ("prefer", "rl"):
        sampled = result["figures"][policy]["sampled"]
        sampled["win_rate/judge/total/<b>$x$ & \x01"] = sampled["win_rate/judge/total/question"]
    fake_run.build(tmp_path)
    fake_run.stage(tmp_path / "round-1" / "evaluate", result)
    html = html_of(tmp_path)
    assert "&lt;b&gt;$x$ &amp; \u2401" in html
    assert "<b>" not in html


def test_the_same_input_gives_the_same_bytes(demo: Path, html: str) -> None:
    assert html_of(demo) == html


def test_every_colour_that_is_used_is_defined_for_light_and_dark(html: str) -> None:
    css = (page.HERE / "style.css").read_text(encoding="utf-8")
    light, dark = css.split("prefers-color-scheme: dark")
    used = set(re.findall(r"var\(--(\w+)\)", html)) - {"role"}
    assert set(style.POLICIES) - {"before"} <= used
    for name in used:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark
    assert not any(colour in html for colour in style.COLOURS.values())


def test_ids_are_unique_and_every_reference_is_met(html: str) -> None:
    reader = Reader()
    reader.feed(html)
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#(\w+)\)", html) + [
        v[1:] for n, v in reader.attributes if n == "href" and v[0] == "#"
    ]
    assert set(used) <= set(ids)


def test_without_a_judge_the_page_says_that_reward_hacking_would_not_show(tmp_path: Path) -> None:
    fake_run.build(tmp_path)
    assert "would not show" not in html_of(tmp_path)
    fake_run.stage(tmp_path / "round-1" / "evaluate", fake_run.evaluation(judge=None))
    html = html_of(tmp_path)
    assert "would not show" in html
    assert "gold judge" not in html


def test_policies_are_tabled_even_if_there_is_nothing_to_compare(tmp_path: Path) -> None:
    result = fake_run.evaluation()
    alone = result | {"figures": {"sft": result["figures"]["sft"]}, "promoted": "sft"}
    fake_run.build(tmp_path)
    fake_run.stage(tmp_path / "round-1" / "evaluate", alone)
    html = html_of(tmp_path)
    assert 'id="policies"' in html
    assert 'id="wins"' not in html
    assert "so SFT stays" in html


def test_sections_follow_the_stages_that_exist(tmp_path: Path) -> None:
    def sections() -> set[str]:
        return set(re.findall(r'<section id="(\w+)"', html_of(tmp_path)))

    whole = {"loop", "wins", "policies", "reward", "rl", "losses", "time", "samples", "details"}
    fake_run.build(tmp_path)
    assert sections() == whole
    for name in ("pretrain", "world", "tokenizer", "round-1/feedback", "round-1/rl"):
        shutil.rmtree(tmp_path / name)
    assert sections() == whole - {"rl"}
    assert "your model" in html_of(tmp_path)
    assert ">judgements<" in html_of(tmp_path)
    shutil.rmtree(tmp_path / "round-1")
    assert sections() == {"loop", "losses", "time", "details"}
    assert "has not been evaluated" in html_of(tmp_path)
    shutil.rmtree(tmp_path / "sft")
    assert sections() == {"loop", "details"}


def test_the_chinese_page_has_no_english_headings(demo: Path) -> None:
    html = html_of(demo, "zh")
    assert '<html lang="zh-CN">' in html
    reader = Reader(("h1", "h2", "h3", "summary", "figcaption", "dt", "th", "title"))
    reader.feed(html.split('<table class="names">')[0])
    known = {"demo", "greedy", "RL", "DPO", "PPO", "SFT", "KL", "json", "summary", "run"}
    assert len(reader.texts) > 60
    for text in reader.texts:
        words = set(re.findall(r"[A-Za-z]{2,}", text))
        assert words <= known, text


def test_the_report_speaks_the_runs_language_unless_told_otherwise(tmp_path: Path) -> None:
    fake_run.build(tmp_path, lang="zh")
    for lang, shown in ((None, "zh-CN"), ("en", "en")):
        result = report.main(report.ReportConfig(run=tmp_path, output=tmp_path / "out", lang=lang))
        assert f'<html lang="{shown}">' in Path(result["report"]).read_text(encoding="utf-8")


def test_both_languages_say_the_same_with_the_same_values() -> None:
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert list(english.WORDS) == list(chinese.WORDS)
    for key, text in english.WORDS.items():
        assert fields(text) == fields(chinese.WORDS[key]), key


def test_samples_are_spread_over_tasks_and_chosen_without_looking_at_the_result(demo: Path) -> None:
    path = demo / "round-2" / "evaluate" / "answers.jsonl"
    rows = page.samples.choose(path)
    assert [row["task"] for row in rows] == [task for task in fake_run.TASKS for _ in range(2)]
    before = [row["id"] for row in rows]
    changed = fake_run.answers("something else")[::-1]
    fake_run.write_rows(demo / "changed.jsonl", changed)
    assert [row["id"] for row in page.samples.choose(demo / "changed.jsonl")] == before


def test_warnings_are_shown_with_their_round(tmp_path: Path) -> None:
    fake_run.build(tmp_path, rounds=2)
    bad = fake_run.evaluation(change={"rl": {"stopped": fake_run.mean(0.8, 0.01)}})
    fake_run.stage(tmp_path / "round-1" / "evaluate", bad)
    html = html_of(tmp_path)
    assert html.count("only 80.0\u00a0% of answers end by themselves") == 1
    assert "Round 1: RL: only" in html


def test_every_round_stands_beside_the_others(tmp_path: Path) -> None:
    fake_run.build(tmp_path, rounds=3)
    change = {
        "rl": {
            "stopped": fake_run.mean(0.97, 0.01),
            "length": fake_run.mean(31.5, 0.6),
            "kl": fake_run.mean(9.1, 0.2),
        }
    }
    first = fake_run.evaluation(change=change) | {"promoted": "prefer"}
    fake_run.stage(tmp_path / "round-1" / "evaluate", first)
    accuracy = {
        "accuracy_on_the_same_pairs": fake_run.share(0.6, 900),
        "annotator_agreement": fake_run.share(0.7, 450),
    }
    fake_run.stage(tmp_path / "round-1" / "reward", fake_run.reward_result() | accuracy)
    (part,) = re.findall(r'<section id="history">.*?</section>', html_of(tmp_path), re.DOTALL)
    rows = {
        name: re.findall(r"<td>([^<]*)", cells)
        for name, cells in re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', part)
    }
    assert re.findall(r'<th scope="col"[^>]*>(Round \d)', part) == ["Round 1", "Round 2", "Round 3"]
    assert rows["promoted"] == ["DPO", "RL", "RL"]
    assert [v[:4] for v in rows["Reward model, the same pairs"]] == ["60.0", "76.2", "76.2"]
    assert [v[:4] for v in rows["Annotators agree with each other"]] == ["70.0", "73.1", "73.1"]
    assert rows["RL: KL from SFT, nats"] == ["9.10", "5.30", "5.30"]
    assert rows["RL: length, tokens"] == ["31.5", "24.8", "24.8"]
    assert [v[:4] for v in rows["RL: ends by itself"]] == ["97.0", "99.1", "99.1"]
    assert "RL: beats SFT, reward model" in rows
    assert 'id="history"' not in html_of(fake_run.build(tmp_path / "one", rounds=1))


def test_clean_keeps_every_letter_that_html_can_hold() -> None:
    text = "a\n\tß中文 🦊 \u200f\u00a0"
    assert wording.clean(text) == text
    assert wording.clean("\x00\x1b\x85\ud800\ufffe\u202e") == "\u2400\u241b\ufffd\ufffd\ufffd\ufffd"


def test_the_page_names_the_loss_that_prefer_was_told(tmp_path: Path) -> None:
    folder = fake_run.build(tmp_path / "run", rounds=1)
    assert "simpo" not in html_of(folder)
    for path in folder.rglob("prefer/stage.json"):
        known = json.loads(path.read_text())
        known["identity"] = {"config": {"loss": "simpo"}}
        path.write_text(json.dumps(known))
    html = html_of(folder)
    assert "simpo" in html
    assert english.WORDS["loss_named_caption"] in html
    assert english.WORDS["loss_prefer_caption"] not in html
