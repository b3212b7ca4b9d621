"""`make audit` says that all is well only where all was looked up."""

import json
import sys
from pathlib import Path

import pytest

from tests.audit import CLEAN, NOT_TOLD, VULNERABLE, main, verdict

FLASK = {"name": "flask", "version": "3.1.3", "vulns": []}
JINJA = {
    "name": "jinja2",
    "version": "3.0.0",
    "vulns": [{"id": "PYSEC-2024-1", "fix_versions": ["3.1.6"], "aliases": [], "description": "..."}],
}
UNKNOWN = {"name": "click", "skip_reason": "Dependency not found on PyPI and could not be audited: click (8.5.1)"}


@pytest.mark.parametrize(
    "packages, code, words",
    [
        ([FLASK], CLEAN, "nothing is known against any of 1 packages"),
        ([FLASK, JINJA], VULNERABLE, "jinja2 3.0.0: PYSEC-2024-1, mended in 3.1.6"),
        ([FLASK, UNKNOWN], NOT_TOLD, "1 of 2 packages were not found"),
        ([UNKNOWN, JINJA], VULNERABLE, "jinja2 3.0.0"),
        ([], NOT_TOLD, "0 of 0 packages"),
    ],
)
def test_it_is_clean_only_if_every_package_was_looked_up(
    packages: list[dict[str, object]], code: int, words: str
) -> None:
    found, sentences = verdict(json.dumps({"dependencies": packages, "fixes": []}))
    assert found == code
    assert words in sentences[0]


@pytest.mark.parametrize("report", ["", "Traceback (most recent call last):", "[]", "{}"])
def test_what_ended_in_an_error_is_not_clean(report: str) -> None:
    assert verdict(report)[0] == NOT_TOLD


def test_the_reason_why_nothing_was_looked_up_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nraise ConnectionError('no route to the service')\n")
    program.chmod(0o755)
    assert main(str(program)) == NOT_TOLD
    assert "ConnectionError: no route to the service" in capsys.readouterr().out
