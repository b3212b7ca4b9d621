"""After `make test`: the floors under branch coverage that the project keeps. Run as `python -m tests.coverage_floor`."""

import json
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

PURE = (
    "core/position_sizer.py",
    "core/pyramid_gate.py",
    "core/stops.py",
    "core/peel_off.py",
    "core/fills.py",
    "core/indicators.py",
    "core/numbers.py",
    "core/fingerprint.py",
    "core/ordering.py",
    "core/portfolio.py",
    "core/events.py",
    "core/inputs.py",
    "core/evolve.py",
    "core/invariants.py",
    "core/contract_rules.py",
    "core/trading_calendar.py",
    "core/rollover.py",
    "core/symbols.py",
    "core/decide/*.py",
    "risk/analytics/*.py",
)
PERSISTENCE = ("core/db_state_manager.py", "core/postgres/*.py")


def main() -> int:
    """0 when every floor holds; else 1, naming each file below its own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)], check=True)
        files = json.loads(report.read_text())["files"]
    covered = {name: found["summary"]["percent_covered"] for name, found in files.items()}
    below = [*_below(covered, PURE, 100.0), *_below(covered, PERSISTENCE, 90.0)]
    for sentence in below:
        sys.stdout.write(f"coverage: {sentence}\n")
    sys.stdout.write("coverage: below a floor\n" if below else "coverage: every floor holds\n")
    return 1 if below else 0


def _below(covered: dict[str, float], patterns: tuple[str, ...], floor: float) -> list[str]:
    sentences = []
    for pattern in patterns:
        matching = {name: percent for name, percent in covered.items() if fnmatch(name, pattern)}
        if not matching:
            sentences.append(f"no file was measured for {pattern}")
        sentences += [f"{name} {percent:.1f} % < {floor} %" for name, percent in matching.items() if percent < floor]
    return sentences


if __name__ == "__main__":
    sys.exit(main())
