"""The journal's inputs: what an earlier program has written is read, and would be written, to the byte as it stands there."""

from pathlib import Path

import msgspec
import pytest

from core.inputs import Command, Input
from core.journal import kind_of, read_input

# One of each kind, and more, in the form of the journal from before commands named their operator and alerts had ids.
WRITTEN = (Path(__file__).parents[1] / "data" / "journal_inputs.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", WRITTEN)
def test_an_input_of_an_earlier_program_is_written_as_it_was(line: str) -> None:
    assert msgspec.json.encode(read_input(line), order="sorted").decode() == line


def test_there_is_one_of_each_kind() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in Input.__args__}
    assert {kind_of(read_input(line)) for line in WRITTEN} == kinds


def test_who_gave_a_command_is_written_where_he_is_known() -> None:
    for line in WRITTEN:
        given = read_input(line)
        if isinstance(given, Command):
            named = msgspec.structs.replace(given, operator="alice")
            assert read_input(msgspec.json.encode(named).decode()) == named != given
