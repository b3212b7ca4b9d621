"""What `live` was asked for on the command line."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """Defaults as on the command line; `db_config` None = the embedded server, `capital` None = the portfolio's own."""

    host: str = "127.0.0.1"
    port: int = 5000
    data_dir: Path = Path("data")
    db_config: Path | None = None
    db_env: str = "local"
    portfolios: tuple[str, ...] = ("main",)
    config: Path | None = None
    broker: str = "paper"
    capital: Decimal | None = None
    log: str = "text"
