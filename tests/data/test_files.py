"""Rows come out as they were written, with their lines; files appear whole or not at all."""

import builtins
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data import raw
from heedful.data.files import fingerprint, read_rows, write_jsonl
from heedful.errors import UserError

ROWS = [{"text": "one"}, {"text": '二\n三 \u2028 and "quotes"'}, {"text": "", "more": [1, None, {"a": 0.5}]}]


def lines_of(path: Path) -> list[int]:
    return [row.line for row in read_rows(path)]


def data_of(path: Path) -> list[dict[str, Any]]:
    return [row.data for row in read_rows(path)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.JSONL"])
def test_written_rows_are_read_back(tmp_path: Path, name: str) -> None:
    assert write_jsonl(tmp_path / "new" / name, iter(ROWS)) == 3
    assert data_of(tmp_path / "new" / name) == ROWS
    assert lines_of(tmp_path / "new" / name) == [1, 2, 3]
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(rows=st.lists(st.dictionaries(st.sampled_from("xyz"), json_values), min_size=1, max_size=4))
def test_any_json_survives_a_round_trip_in_each_form(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    write_jsonl(folder / "a.jsonl", rows)
    assert data_of(folder / "a.jsonl") == rows
    for indent in (None, 2):
        (folder / "a.json").write_text(json.dumps(rows, indent=indent), encoding="utf-8")
        assert data_of(folder / "a.json") == rows


def test_each_object_of_a_list_knows_the_line_that_it_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\n[\n{"a":\n1},\n\n{"b": 2}, {"c": 3}\n]\n')
    assert [(row.line, row.data) for row in read_rows(path)] == [(3, {"a": 1}), (6, {"b": 2}), (6, {"c": 3})]


def test_jsonl_under_the_name_json_byte_order_mark_windows_lines_and_repeated_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1, "a": 2}\r\n\r\n{"a": 3}')
    assert [(row.line, row.data) for row in read_rows(path)] == [(1, {"a": 2}), (3, {"a": 3})]


def test_text_has_a_row_a_line_and_only_line_feeds_end_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("one \u2028 line\r\n\n\x0cthree".encode()))
    assert data_of(path) == [{"text": "one \u2028 line"}, {"text": ""}, {"text": "\x0cthree"}]


def test_csv_cells_may_hold_lines_and_rows_know_where_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,completion\r\n"a\r\nb","say ""c"""\r\n\r\nd,' + b"e" * 200_000 + b"\r\n")
    assert [row.line for row in read_rows(path)] == [2, 5]
    assert data_of(path)[0] == {"prompt": "a\nb", "completion": 'say "c"'}
    assert len(data_of(path)[1]["completion"]) == 200_000


def test_parquet_rows_are_counted(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    messages = [{"role": "user", "content": "x"}]
    parquet.write_table(pa.table({"n": list(range(3000)), "messages": [messages] * 3000}), path)
    rows = list(read_rows(path))
    assert [row.data["n"] for row in rows] == list(range(3000))
    assert rows[2999].data["messages"] == messages
    assert rows[2999].where == f"{path}, row 3000"


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    real_import: Callable[..., Any] = builtins.__import__

    def no_pyarrow(name: str, *args: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(UserError, match=r"pip install heedful\[parquet\]"):
        list(read_rows(tmp_path / "a.parquet"))


def test_rows_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nbroken\n')
    rows = read_rows(path)
    assert next(rows).data == {"a": 1}
    with pytest.raises(UserError, match="line 2 is not valid JSON"):
        next(rows)


def test_a_missing_file_is_reported_before_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"Did you mean 'answers\.jsonl'"):
        read_rows(tmp_path / "answer.jsonl")


def test_utf8_that_breaks_deep_inside_a_list_names_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[\n{"a": "\xc3\xa9"},\n{"a": "\xe9"}\n]')
    with pytest.raises(UserError, match=r"line 3 is not UTF-8 \(byte 23 of the file\)"):
        list(read_rows(path))


def test_a_json_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LONGEST_FILE", 10)
    (tmp_path / "a.json").write_text('[{"a": 1}]')
    assert data_of(tmp_path / "a.json") == [{"a": 1}]
    (tmp_path / "a.json").write_text('[{"a": 12}]')
    with pytest.raises(UserError, match="larger than 1 GiB"):
        list(read_rows(tmp_path / "a.json"))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, ROWS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(path, [{"a": 1}, {"a": float("nan")}])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_below_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        write_jsonl(tmp_path / "file" / "a.jsonl", ROWS)


def test_equal_rows_make_equal_compressed_files_and_fingerprints(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_jsonl(tmp_path / name, ROWS)
    assert fingerprint(tmp_path / "a.jsonl.gz") == fingerprint(tmp_path / "b.jsonl.gz")
    assert (tmp_path / "a.jsonl.gz").read_bytes()[4:8] == bytes(4)  # no time of writing
    (tmp_path / "abc").write_bytes(b"abc")
    assert fingerprint(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
