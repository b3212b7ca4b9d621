"""docs/risk.md tells the truth: its examples are run, in their order, and say what it shows."""

import doctest
import re
from pathlib import Path

import risk.analytics
import risk.what_if

GUIDE = Path(__file__).parents[3] / "docs" / "risk.md"
# What those that are told of are made of.
INNER = {"__init__", "checks", "definitions", "checked", "factors", "measured", "pricing"}
EXAMPLES = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_guides_examples_say_what_it_shows() -> None:
    text = "\n".join(EXAMPLES.findall(GUIDE.read_text(encoding="utf-8")))
    examples = doctest.DocTestParser().get_doctest(text, {}, "risk.md", str(GUIDE), 0)
    told: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples, out=told.append)
    assert results.failed == 0, "".join(told)
    assert results.attempted > 60


def test_the_guide_tells_of_every_module() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    folders = [Path(package.__file__).parent for package in (risk.analytics, risk.what_if)]
    modules = {path.stem for folder in folders for path in folder.glob("*.py")} - INNER
    assert {name for name in modules if not re.search(rf"\b{name}\b", guide)} == set()
