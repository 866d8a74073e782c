"""Every malformed file gives one sentence that names the file, the line where there is one, and the fault."""

import re

import pytest

from bad_inputs.cases import CASES, FILES, Case
from heedful.data import formats
from heedful.errors import UserError


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_file_gives_one_sentence(case: Case) -> None:
    if case.name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(UserError) as caught:
        getattr(formats, f"read_{case.reader}")(case.path)
    message = str(caught.value)
    assert re.fullmatch(f"(There is no file ')?{re.escape(str(case.path))}{case.message}", message)
    assert len(message) < 350 + len(str(case.path))


def test_every_file_of_the_folder_is_expected_to_fail() -> None:
    on_disk = {path.name for path in FILES.iterdir()}
    assert on_disk <= {case.name for case in CASES}
    assert len(CASES) >= 36
