"""All that is looked at, in the order in which it is told."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from live.doctor.configuration import Configuration
from live.doctor.database import check_database
from live.doctor.findings import Check, Finding, findings_of
from live.doctor.instance import Instance, check_webhook
from live.doctor.machine import check_clock, check_disk, check_port
from live.doctor.risk import check_risk
from live.doctor.secrets import check_secrets
from live.doctor.services import check_broker, check_redis
from live.options import LiveOptions


def look_at_all(
    options: LiveOptions, *, url: str | None, start_database: bool, within: float, clock: Callable[[], datetime]
) -> list[Finding]:
    """Every check's findings, as `live` with those options would meet it; the instance at `url`, or where `live` would be."""
    configuration = Configuration(options, clock().date())
    instance = Instance.of(options.host, options.port, url, configuration.portfolio)
    checks: dict[str, Check] = {
        "configuration": configuration.check,
        "database": partial(check_database, options, clock, start=start_database),
        "clock": check_clock,
        "disk": partial(check_disk, options.data_dir),
        "port": partial(check_port, options, Instance.of(options.host, options.port, None, configuration.portfolio)),
        "broker": partial(check_broker, configuration, clock),
        "redis": partial(check_redis, configuration),
        "risk": partial(check_risk, configuration),
        "webhook": partial(check_webhook, instance),
        "secrets": partial(check_secrets, configuration, clock),
    }
    return findings_of(checks, within)
