"""docs/risk.md tells the truth: its examples are run, in their order, and say what it shows."""

import doctest
import re
from pathlib import Path

import risk.analytics

GUIDE = Path(__file__).parents[3] / "docs" / "risk.md"
EXAMPLES = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_guides_examples_say_what_it_shows() -> None:
    text = "\n".join(EXAMPLES.findall(GUIDE.read_text(encoding="utf-8")))
    examples = doctest.DocTestParser().get_doctest(text, {}, "risk.md", str(GUIDE), 0)
    told: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples, out=told.append)
    assert results.failed == 0, "".join(told)
    assert results.attempted > 30


def test_the_guide_tells_of_every_module() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    modules = {path.stem for path in Path(risk.analytics.__file__).parent.glob("*.py")} - {
        "__init__",
        "checks",
        "definitions",
    }
    assert {name for name in modules if not re.search(rf"\b{name}\b", guide)} == set()
