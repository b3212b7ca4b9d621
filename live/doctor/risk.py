"""Whether days can be reckoned, where that is on: what the batch needs is installed."""

from collections.abc import Iterator

from live.doctor.configuration import Configuration
from live.doctor.findings import Finding, failed, ok, skipped
from live.risk_task import missing_libraries

_CHECK = "risk"


def check_risk(configuration: Configuration) -> Iterator[Finding]:
    """Its libraries; that they are there is no promise that they can be imported."""
    if configuration.settings is None:
        yield skipped(_CHECK, "the configuration cannot be read")
    elif not configuration.settings.risk.enabled:
        yield skipped(_CHECK, "`risk.enabled` is off: days are reckoned by `risk batch` only")
    elif missing := missing_libraries():
        names = ", ".join(name for of_file in missing.values() for name in of_file)
        files = " ".join(f"--requirement {file}" for file in missing)
        yield failed(_CHECK, f"days cannot be reckoned: {names} not installed", f"pip install {files}")
    else:
        yield ok(_CHECK, "what the daily batch needs is installed")
