"""Settings of the brokers: where they are, how patient we are with them, what the paper one does to an order."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from core.contracts import PositiveMoney, Settled
from core.settings import Seconds
from live.order_limits import OrderLimits

Patience = Annotated[Decimal, Field(gt=0, le=600, allow_inf_nan=False)]
PerSecond = Annotated[int, Field(ge=1, le=10_000)]
_KNOWN_TO_KEEP_IDS = frozenset({"binance", "binanceusdm", "bybit"})
Product = Literal["NRML", "MIS", "CNC"]
_Value = TypeVar("_Value")
_Fraction = Annotated[Decimal, Field(gt=0, le=1, allow_inf_nan=False)]


class PaperSettings(Settled):
    """What the paper broker makes of an order. Everything follows from these, the quotes and the clock.

    A fill comes `latency_seconds` after the order, moved by `slippage_percent` against us, and in parts of
    `fill_fractions` with `seconds_between_fills` between them. Every `reject_every`-th order is rejected, and every
    order in one of `reject_symbols`: in the answer, or only in the book where `reject_in_book`.
    An order that ended more than `listed_days` ago is kept and no longer listed.
    """

    slippage_percent: Annotated[Decimal, Field(ge=0, le=10, allow_inf_nan=False)] = Decimal(0)
    latency_seconds: Seconds = Decimal(0)
    fill_fractions: tuple[_Fraction, ...] = (Decimal(1),)
    seconds_between_fills: Seconds = Decimal(0)
    reject_every: int | None = Field(default=None, ge=1)
    reject_symbols: tuple[str, ...] = ()
    reject_in_book: bool = False
    quotes_file: Path | None = None
    capital: PositiveMoney = Decimal(5_000_000)
    listed_days: int = Field(default=7, ge=1, le=3650)

    @field_validator("fill_fractions")
    @classmethod
    def _whole_in_the_end(cls, fractions: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
        if sum(fractions) != 1:
            raise ValueError("fill_fractions must sum to 1")
        return fractions

    @property
    def latency(self) -> timedelta:
        """Between an order, or the wish to cancel it, and its effect."""
        return _seconds(self.latency_seconds)

    @property
    def between_fills(self) -> timedelta:
        """Between two parts of an order."""
        return _seconds(self.seconds_between_fills)


def _shares_are_delivered() -> dict[str, Product]:
    return {"NSE": "CNC", "BSE": "CNC"}


def _in_capitals(by_name: dict[str, _Value]) -> dict[str, _Value]:
    """Instruments and exchanges are: the environment's names arrive in lower case."""
    return {name.upper(): value for name, value in by_name.items()}


class _WithSecrets(Settled):
    """Settings with secrets: what is refused is not repeated in the message."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class OpenAlgoSettings(_WithSecrets):
    """Where OpenAlgo is, and how it is talked to. Times in seconds; `read_seconds` is the longest silence in an answer.

    `analyze` says what the server must be: true, its analyzer (simulated orders), false, live. It is looked at again
    before an order where the last look is older than `mode_check_seconds`.
    `lots_on` names the exchanges where the broker behind it counts contracts, not units (MCX, on some).
    A read is tried `read_attempts` times; what changes something, once.
    """

    url: str = "http://127.0.0.1:5000"
    api_key: SecretStr = Field(min_length=1, max_length=256)
    strategy: Annotated[str, StringConstraints(min_length=1, max_length=50)] = "portfolio-manager"
    analyze: bool = False
    mode_check_seconds: Seconds = Decimal(5)
    product: Product = "NRML"
    products: dict[str, Product] = Field(default_factory=_shares_are_delivered)
    lots_on: frozenset[str] = frozenset()
    connect_seconds: Patience = Decimal(2)
    read_seconds: Patience = Decimal(10)
    read_attempts: int = Field(default=3, ge=1, le=10)
    orders_per_second: PerSecond = 10
    reads_per_second: PerSecond = 50

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        parts = urlsplit(url)
        if not parts.hostname or parts.port == 0:
            raise ValueError("must name a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must not hold a user, a password, a query or a fragment")
        return url.rstrip("/")

    @field_validator("products")
    @classmethod
    def _by_exchange(cls, products: dict[str, Product]) -> dict[str, Product]:
        return _in_capitals(products)

    def product_on(self, exchange: str) -> Product:
        """The product of orders on `exchange`: `products` by exchange, else `product`."""
        return self.products.get(exchange, self.product)


class CcxtSettings(_WithSecrets):
    """Which of ccxt's venues, with what keys, and what the account is looked at for.

    `symbols` (ccxt's: `BTC/USDT` spot, `BTC/USDT:USDT` linear perpetual) are the ones whose orders and trades are
    read: venues do not list an account's orders without being told a symbol. `exchange` is how requests name the venue.
    Facts about the venue, for ccxt does not tell them: `keeps_client_order_ids`, its books show them as they were sent
    (where it is None: of Binance and Bybit; through ccxt some venues prefix them or never get them);
    `separate_stop_book`, it lists stop orders apart; `amends_in_place`, a changed order keeps its id; `paginate`, ccxt can
    follow its lists page by page. `book_hours`: how far back ended orders and trades are read.
    """

    venue: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{2,40}$")]
    exchange: str | None = None
    api_key: SecretStr | None = None
    secret: SecretStr | None = None
    password: SecretStr | None = None
    symbols: tuple[str, ...] = Field(min_length=1)
    sandbox: bool = False
    keeps_client_order_ids: bool | None = None
    client_order_id_pattern: str = r"[A-Za-z0-9_-]{1,32}"
    stop_orders: bool = True
    separate_stop_book: bool = False
    amends_in_place: bool = False
    paginate: bool = True
    timeout_seconds: Patience = Decimal(10)
    read_attempts: int = Field(default=3, ge=1, le=10)
    book_hours: int = Field(default=24, ge=1, le=24 * 7)
    quote_currency: str = "USDT"
    options: dict[str, bool | int | str] = Field(default_factory=dict)

    @property
    def shows_client_order_ids(self) -> bool:
        """Whether an order can be found again in the venue's books by our id of it."""
        given = self.keeps_client_order_ids
        return self.venue in _KNOWN_TO_KEEP_IDS if given is None else given

    @property
    def exchange_name(self) -> str:
        """How requests and reports name the venue."""
        return self.exchange or self.venue

    @model_validator(mode="after")
    def _spot_or_linear(self) -> Self:
        for symbol in self.symbols:
            base_and_quote, _, settled_in = symbol.partition(":")
            quote = base_and_quote.partition("/")[2]
            if not quote or settled_in not in ("", quote):
                raise ValueError(f"{symbol}: neither BASE/QUOTE (spot) nor BASE/QUOTE:QUOTE (linear perpetual)")
        return self


def _seconds(value: Decimal) -> timedelta:
    return timedelta(microseconds=int(value * 1_000_000))


class MarketSettings(Settled):
    """Where an instrument is traded: the broker's symbol and exchange. With `contracts` the symbol is that of the contract
    that is in front when a position is opened."""

    symbol: Annotated[str, StringConstraints(min_length=1, max_length=50)] | None = None
    contracts: bool = False
    exchange: Annotated[str, StringConstraints(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.contracts == (self.symbol is not None):
            raise ValueError("give either `symbol`, one that stays, or `contracts`: true")
        return self


class BrokersSettings(_WithSecrets):
    """Which broker, each one's settings, and by instrument where it is traded there; what has no market is not traded."""

    use: Literal["paper", "openalgo", "ccxt"] = "paper"
    paper: PaperSettings = PaperSettings()
    openalgo: OpenAlgoSettings | None = None
    ccxt: CcxtSettings | None = None
    markets: dict[str, MarketSettings] = Field(default_factory=dict)
    limits: OrderLimits = OrderLimits()

    @field_validator("markets")
    @classmethod
    def _by_name(cls, markets: dict[str, MarketSettings]) -> dict[str, MarketSettings]:
        return _in_capitals(markets)

    @property
    def by_contract(self) -> frozenset[str]:
        """The instruments that are traded by contract."""
        return frozenset(name for name, market in self.markets.items() if market.contracts)

    @property
    def account(self) -> tuple[object, ...] | None:
        """What tells the account in use from another one; None on paper, where each portfolio has a book of its own."""
        if self.use == "openalgo" and self.openalgo is not None:
            return self.use, self.openalgo.url, self.openalgo.api_key
        if self.use == "ccxt" and self.ccxt is not None:
            return self.use, self.ccxt.venue, self.ccxt.sandbox, self.ccxt.api_key
        return None

    @model_validator(mode="after")
    def _has_what_it_uses(self) -> Self:
        if self.use != "paper" and getattr(self, self.use) is None:
            raise ValueError(f"`{self.use}` has to be set where it is used")
        return self
