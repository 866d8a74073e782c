"""Malformed inputs, and the one sentence that each must give: data for the tests of readers and commands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Case:
    """`message` is a regular expression for what stands after the path in the UserError of read_`reader`."""

    name: str
    message: str
    reader: Literal["texts", "conversations", "prompts", "preferences"] = "conversations"

    @property
    def path(self) -> Path:
        return FILES / self.name


CASES = (
    # The file itself
    Case("cutt_off.jsonl", r"'\. Did you mean 'cut_off\.jsonl'\?"),
    Case("b_folder/data.jsonl", r"'\. Did you mean 'a_folder'\?"),
    Case("a_folder", r" is a folder; name a file inside it\."),
    Case("wrong_ending.jsnl", r" has the ending '\.jsnl', but .* Did you mean '\.jsonl'\?"),
    Case("empty.jsonl", r" is empty\."),
    Case("only_blank_lines.jsonl", r" holds no rows\."),
    Case("empty_list.json", r" holds no rows\."),
    Case("only_a_header.csv", r" holds no rows\."),
    # Bytes
    Case("latin1.jsonl", r", line 2 is not UTF-8 \(byte 81 of the file\); save it as UTF-8\."),
    Case("utf16.jsonl", r", line 1 is not UTF-8 \(byte 1 of the file\); it is UTF-16, so save it as UTF-8\."),
    Case("gzip_without_gz.jsonl", r", line 1 is not UTF-8 .* its name must end in \.gz\."),
    Case("zip_archive.jsonl", r", line 1 is not UTF-8 .* it is a zip archive, so unpack it first\."),
    Case("truncated.jsonl.gz", r" stops in the middle of its gzip data; copy or download it again\."),
    Case("damaged.jsonl.gz", r" is not gzip or is damaged \(CRC .*\); copy or download it again\."),
    Case("not_gzip.jsonl.gz", r" is not gzip or is damaged \(Not a gzipped file .*\); copy .*"),
    Case("nul_byte.jsonl", r", line 2 holds a NUL byte; save it as UTF-8 text\."),
    Case("long_line.jsonl.gz", r", line 2 is longer than 16 MiB; put one record on each line\."),
    # JSON
    Case("cut_off.jsonl", r", line 3 is not valid JSON: unterminated string starting at column 12\."),
    Case("single_quotes.jsonl", r", line 1 is not valid JSON: expecting property name .* at column 2\."),
    Case("raw_tab.jsonl", r", line 1 is not valid JSON: invalid control character at column 38\."),
    Case("two_on_a_line.jsonl", r", line 1 is not valid JSON: extra text from column 62 on\."),
    Case("nan.jsonl", r", line 2 is not valid JSON: NaN is not a JSON number\."),
    Case("infinity.jsonl", r", line 1 is not valid JSON: -Infinity is not a JSON number\."),
    Case("huge_number.jsonl", r", line 1 is not valid JSON: the number '1e999' is too large\."),
    Case("huge_integer.jsonl", r", line 1 is not valid JSON: Exceeds the limit .*\."),
    Case("too_deep.jsonl.gz", r", line 2 is not valid JSON: it is nested too deeply\."),
    Case("list_line.jsonl", r", line 1 holds a list where an object \{\.\.\.\} is expected\."),
    Case("string_line.jsonl", r", line 2 holds text where an object \{\.\.\.\} is expected\."),
    Case("half_an_emoji.jsonl", r", line 1 holds a character that is not text: a NUL or half an emoji\."),
    Case("escaped_nul.jsonl", r", line 1 holds a character that is not text: a NUL or half an emoji\."),
    Case("final_comma.json", r", line 2 is not valid JSON: a ',' stands before the final '\]'\."),
    Case("no_comma.json", r", line 2 is not valid JSON: after this object a ',' or .* is missing\."),
    Case("unclosed_list.json", r", line 3 is not valid JSON: expecting value at column 1\."),
    Case("text_after_list.json", r", line 3 is not valid JSON: text follows the final '\]'\."),
    Case("list_of_strings.json", r", line 1 holds text where an object \{\.\.\.\} is expected\."),
    Case(
        "one_object.json", r" holds one object over several lines; write a list of objects, or one a line\."
    ),
    # CSV and Parquet
    Case("ragged.csv", r", line 3 has 3 cells, but the header has 2\."),
    Case("repeated_column.csv", r", line 1 has two columns named 'prompt'\."),
    Case("unnamed_column.csv", r", line 1 has a column without a name\."),
    Case("open_quote.csv", r", line 3 is not valid CSV: unexpected end of data\."),
    Case("not_parquet.parquet", r" is not Parquet or is damaged: .*\."),
    Case("cut_off.parquet", r" is not Parquet or is damaged: .*\."),
    # Columns
    Case("misspelt_column.jsonl", r", line 1 has no column 'completion'; .* Did you mean 'completoin'\?"),
    Case("other_columns.jsonl", r", line 1 has the columns x, y, but conversations need messages, or .*\."),
    Case("plain_text.txt", r", line 1 has the columns text, but conversations need messages, or .*\."),
    Case("column_missing_later.jsonl", r", line 3 has no column 'completion'; its columns are prompt\."),
    Case("number_as_prompt.jsonl", r", line 1: 'prompt' is a number, but it must be text or a list .*\."),
    Case("negative_weight.jsonl", r", line 2: 'weight' is -1, but it must be 0 or a positive number\."),
    Case("word_as_weight.jsonl", r", line 1: 'weight' is text, but it must be a number\."),
    Case("misspelt_chosen.jsonl", r", line 1 has no column 'chosen'; .* 'choosen'\?", "preferences"),
    Case("labelled.jsonl", r", line 1 has no column 'chosen'; .*", "preferences"),
    Case(
        "number_as_chosen.jsonl", r", line 2: 'chosen' is a number, but it must be text .*\.", "preferences"
    ),
    Case("no_prompt.jsonl", r", line 1: 'chosen' is text without .*; add a column 'prompt'\.", "preferences"),
    Case("negative_strength.jsonl", r", line 1: 'strength' is -0\.5, but it must be 0 .*\.", "preferences"),
    Case("numbers_as_answers.jsonl", r", line 1: 'output' is a list, but not all .* text\.", "preferences"),
    Case("misspelt_text.jsonl", r", line 1 has no column 'text'; .* Did you mean 'txt'\?", "texts"),
    Case("null_text.jsonl", r", line 2: 'text' is null, but it must be text\.", "texts"),
    # Messages
    Case("text_as_messages.jsonl", r", line 1: 'messages' is text, but it must be a list of messages\."),
    Case(
        "text_as_message.jsonl",
        r", line 1: 'conversations', message 1, is text, but .* a role and a content\.",
    ),
    Case("unknown_role.jsonl", r", line 1: 'messages', message 2, has the role 'asistant', .* 'assistant'\?"),
    Case(
        "tool_role.jsonl", r", line 1: 'messages', message 1, has the role 'tool', which is not .*", "prompts"
    ),
    Case("misspelt_content.jsonl", r", line 1: .* has no 'content'\. Did you mean 'contents'\?"),
    Case("number_as_content.jsonl", r", line 1: .* has a content that is a number, but it must be text\."),
    Case("image.jsonl", r", line 1: .* has a part that is not text; only text can be learnt from\."),
    # Rows that teach nothing
    Case("only_questions.jsonl", r" has no row .* for conversations: no answer \(2, first at line 1\)\."),
    Case("two_users.jsonl", r" has no row .* user and assistant do not take turns \(1, first at line 1\)\."),
    Case("empty_answers.jsonl", r" has no row .* empty answer \(1, first at line 1\)\."),
    Case("equal_answers.jsonl", r" has no row .* equal or empty answers \(1, .*\)\.", "preferences"),
    Case("blank_texts.jsonl", r" has no row .* empty text \(2, first at line 1\)\.", "texts"),
)
