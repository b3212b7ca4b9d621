"""What a check finds, and the running of checks side by side, each bounded in time."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from core.errors import PortfolioError


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at and found, and in one sentence how to mend it; where it was skipped, why."""

    check: str
    outcome: Outcome
    found: str
    mend: str = ""


Check = Callable[[], Iterable[Finding]]


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, outcome=Outcome.OK, found=found)


def warning(check: str, found: str, mend: str) -> Finding:
    """It works, and should be otherwise."""
    return Finding(check=check, outcome=Outcome.WARNING, found=found, mend=mend)


def failed(check: str, found: str, mend: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(check=check, outcome=Outcome.FAILED, found=found, mend=mend)


def skipped(check: str, why: str, mend: str = "") -> Finding:
    """It could not be looked at, or there is nothing to look at."""
    return Finding(check=check, outcome=Outcome.SKIPPED, found=why, mend=mend)


def findings_of(checks: Mapping[str, Check], within: float) -> list[Finding]:
    """What all checks find, in their order; one that has not ended within so many seconds has failed."""
    give_up = monotonic() + within
    running = [_Running(name, check) for name, check in checks.items()]
    return [finding for each in running for finding in each.found_until(give_up, within)]


class _Running:
    """One check in a thread of its own, which nobody waits for in the end."""

    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._found: list[Finding] = []
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=f"doctor-{name}", daemon=True).start()

    def _run(self) -> None:
        try:
            for finding in self._check():
                self._found.append(finding)
        except PortfolioError as error:
            self._found.append(failed(self._name, str(error), "see what it says, and try again"))
        except Exception as error:  # noqa: BLE001 - what one check stumbles over must not hide what the others find
            self._found.append(failed(self._name, f"{type(error).__name__}: {error}", "this is a mistake in `doctor`"))
        finally:
            self._ended.set()

    def found_until(self, give_up: float, within: float) -> list[Finding]:
        """What it has found by then."""
        if self._ended.wait(max(0.0, give_up - monotonic())):
            return self._found
        late = failed(
            self._name, f"no answer within {within:g} s", "see whether what it asks hangs, or give it longer (--within)"
        )
        return [*self._found, late]
