"""Whether the configuration would be taken by `live`."""

import os
from collections.abc import Iterator
from datetime import date

from core.config import FileSettings, load_file_settings
from core.errors import ConfigurationError
from live.brokers.settings import BrokersSettings
from live.contracts_desk import ContractsDesk
from live.doctor.findings import Finding, failed, ok
from live.options import LiveOptions
from live.order_desk import brokers_settings, settings_for

_CHECK = "configuration"
_MEND = "put that right in the file or the environment; docs/configuration.md lists every setting"


class Configuration:
    """The settings of one portfolio as `live` would read them; None where it would refuse to."""

    def __init__(self, options: LiveOptions, today: date) -> None:
        (self.portfolio,) = options.portfolios
        self.options = options
        self.settings: FileSettings | None = None
        self.brokers: BrokersSettings | None = None
        self._problem = ""
        try:
            self.settings = load_file_settings(options.config).of(self.portfolio)
            self.brokers = brokers_settings(self.settings, options.broker)
            decides = settings_for(self.settings.settings, self.brokers)
            ContractsDesk(self.settings.contracts, decides, self.brokers.by_contract).document_on(today)
        except ConfigurationError as error:
            self._problem = str(error)

    def check(self) -> Iterator[Finding]:
        """What was read, or what is wrong with it."""
        if self._problem:
            yield failed(_CHECK, self._problem, _MEND)
            return
        file = "the defaults" if self.options.config is None else str(self.options.config)
        variables = sum(name.upper().startswith("PORTFOLIO_") for name in os.environ)
        yield ok(_CHECK, f"{file}, with {variables} variables over it")
