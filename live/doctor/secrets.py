"""Secrets: whether they are there where they are needed, hard to guess, and nobody else's to read."""

import math
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from core.config import FileSettings, read_json_object, read_settings
from core.errors import ConfigurationError
from live.doctor.configuration import Configuration
from live.doctor.findings import Finding, failed, ok, skipped, warning
from live.options import LiveOptions
from live.secrets import TOKEN_FILE, is_loopback, operator_token
from live.webhook_secrets import WebhookSecrets

# Of letters and digits drawn at random, twelve; a word or two never reach it.
_STRONG_BITS = 70
# What our own examples put in a secret's place.
_EXAMPLES = ("replace-this", "at-least-", "choose-", "change-me", "changeme")
_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH
_SECRETS = (
    "webhook_secret",
    "webhook_secret_previous",
    "operator_token",
    "link_secret",
    "api_key",
    "secret",
    "password",
)
_INIT = "take a new one, such as `init` makes"


def check_secrets(configuration: Configuration, clock: Callable[[], datetime]) -> Iterator[Finding]:
    """The webhook's secret, the operator's token, and the files that hold secrets. None of them is shown."""
    options, settings = configuration.options, configuration.settings
    if settings is None:
        yield skipped("secrets", "the configuration cannot be read")
        return
    try:
        secrets = WebhookSecrets.of(settings, clock)
    except ConfigurationError as error:
        yield failed("secrets", str(error), "put that right; docs/security.md says where a secret may be")
        return
    yield from _webhook_secrets(secrets, options.host)
    yield _operator_token(options.data_dir, settings)
    yield from _link_secret(settings)
    if secrets is not None and settings.operator_token in secrets.known:
        yield failed(
            "secrets", "the operator's token is the webhook's secret, which TradingView knows", "give each its own"
        )
    yield from _files(options)


def bits_of(secret: str) -> float:
    """How many bits it has at most: its length times what its different characters tell."""
    return len(secret) * math.log2(len(set(secret)) or 1)


def _webhook_secrets(secrets: WebhookSecrets | None, host: str) -> Iterator[Finding]:
    if secrets is not None:
        yield _strength("the webhook's secret", secrets.current)
        if secrets.previous is not None:
            yield _strength("the webhook's secret before that", secrets.previous)
    elif is_loopback(host):
        found = "no webhook secret: whoever reaches the engine, through a proxy too, can send alerts"
        yield warning("secrets", found, "set PORTFOLIO_WEBHOOK_SECRET; `init` makes one")
    else:
        found = f"`live` refuses to listen on {host} without a webhook secret"
        yield failed("secrets", found, "set PORTFOLIO_WEBHOOK_SECRET; `init` makes one")


def _operator_token(data_dir: Path, settings: FileSettings) -> Finding:
    if settings.operator_token is not None:
        return _strength("the operator's token", settings.operator_token)
    file = data_dir / TOKEN_FILE
    try:
        if not file.exists():
            return skipped("secrets", f"{file} is not there yet: `live` makes it")
        token = operator_token(data_dir, None, create=False)
    except (ConfigurationError, OSError) as error:
        return failed("secrets", str(error), "remove the file and start `live` again, which makes a new one")
    return _strength(f"the operator's token of {file} (mode 0600)", token)


def _link_secret(settings: FileSettings) -> Iterator[Finding]:
    """What `live` makes itself is strong, and known to the instances of this data folder alone."""
    if settings.link_secret is not None:
        yield _strength("the secret of links", settings.link_secret)
    if settings.link_secret is not None and settings.public_url is None:
        yield warning("secrets", "there is a secret of links, and no link", "set public_url: docs/approval.md")


def _strength(name: str, secret: str) -> Finding:
    if secret.lower().startswith(_EXAMPLES):
        return failed("secrets", f"{name} is that of an example", _INIT)
    if bits_of(secret) < _STRONG_BITS:
        return warning(
            "secrets", f"{name} can be guessed: {len(secret)} characters, at most {bits_of(secret):.0f} bits", _INIT
        )
    return ok("secrets", f"{name} is hard to guess")


def _files(options: LiveOptions) -> Iterator[Finding]:
    """Those with secrets in them that others may read."""
    found = []
    if options.config is not None:
        found.append((options.config, read_settings(options.config)))
    if options.db_config is not None:
        found.append((options.db_config, read_json_object(options.db_config)))
    for file, content in found:
        if _holds_secret(content) and file.stat().st_mode & _OTHERS_MAY_READ:
            mend = f"chmod 600 {file}, or move its secrets into variables"
            yield warning("secrets", f"{file} holds a secret, and others may read it", mend)


def _holds_secret(content: Mapping[str, Any]) -> bool:
    """Whether a secret itself stands there, and not the name of a variable with one."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            if _holds_secret(value):
                return True
        elif name in _SECRETS and isinstance(value, str) and not value.startswith("${"):
            return True
    return False
