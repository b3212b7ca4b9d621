"""The Content-Security-Policies of reports' pages, for the headers of answers: without what makes the pages."""

from functools import cache
from pathlib import Path

from live.single_page import policy, script_and_style

TEMPLATES = Path(__file__).parent / "templates"


@cache
def tear_sheet_script_and_style() -> tuple[str, str]:
    """What a tear sheet's page has inside it."""
    return script_and_style(TEMPLATES / "tear_sheet.js", TEMPLATES / "tear_sheet.css", draws_days=True)


def policy_of_tear_sheets() -> str:
    """The policy that a tear sheet's page has in it, too."""
    return policy(*tear_sheet_script_and_style())
