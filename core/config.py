"""Where settings come from: the configuration file, the environment, database_config.json."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AwareDatetime, BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from core.book_settings import BookSettings
from core.contracts import INSTRUMENT_NAME, PositiveMoney, Settled
from core.errors import ConfigurationError
from core.notifications import NotificationSettings
from core.risk_settings import RiskSettings
from core.settings import (
    Approval,
    Bars,
    Drawdown,
    Execution,
    Limits,
    PaperFills,
    Pyramiding,
    Seconds,
    Settings,
    Sizing,
    Timing,
)
from core.trading_calendar import Clock, TimeZoneName

if TYPE_CHECKING:
    from core.profiles import Profile

PORTFOLIO_NAME = r"[a-z][a-z0-9_]{0,29}"
DEFAULT_INSTRUMENTS = Path(__file__).parent / "data" / "instruments.json"
SecretPlace = Literal["body", "path", "signature"]
_Model = TypeVar("_Model", bound=BaseModel)


def default_instruments() -> dict[str, Any]:
    """The shipped instruments, as data."""
    loaded: dict[str, Any] = json.loads(DEFAULT_INSTRUMENTS.read_text(encoding="utf-8"), parse_float=Decimal)
    return loaded


def default_settings() -> Settings:
    """The settings that hold when nobody says otherwise."""
    return Settings.model_validate({"instruments": default_instruments()})


class ContractFiles(Settled):
    """Where contracts come from: what is corrected by hand, and rules and calendar in place of the shipped ones.

    `roll_at`, a time of the exchange's day: then positions that are due are rolled by themselves.
    """

    corrections: Path | None = None
    rules: Path | None = None
    calendar: Path | None = None
    roll_at: Clock | None = None


class IntakeSettings(Settled):
    """Alerts of another shape than ours: the profile that reads them, by name, and profiles of one's own (core.profiles).

    None: alerts are of our own shape only.
    """

    profile: str | None = None
    profiles: dict[str, dict[str, Any]] = Field(default={})


LONGEST_LEASE_SECONDS = 60


class LeadershipSettings(Settled):
    """How long a leader without a word is taken for alive, and where it says that it is: in PostgreSQL, or in Redis."""

    lease_seconds: Decimal = Field(default=Decimal(2), ge=Decimal("0.5"), le=LONGEST_LEASE_SECONDS)
    redis_url: str | None = Field(default=None, pattern=r"^(redis|rediss|unix)://", repr=False)
    redis_prefix: str = Field(default="portfolio-manager", min_length=1, max_length=60)


Rate = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,6}/(second|minute|hour|day)$")]


class RateLimitSettings(Settled):
    """How often an address, or a portfolio, may ask before it is answered 429; None: as often as it likes."""

    per_address: Rate | None = None
    per_portfolio: Rate | None = None
    failed_secrets: Rate | None = None
    failed_tokens: Rate | None = "30/minute"


class FileSettings(BaseSettings):
    """The configuration file and `PORTFOLIO_` variables over it: Settings, and what only the shell needs."""

    model_config = SettingsConfigDict(
        env_prefix="PORTFOLIO_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    initial_capital: PositiveMoney | None = None
    naive_timezone: TimeZoneName = "Asia/Kolkata"
    allowed_addresses: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    webhook_secret: str | None = Field(default=None, min_length=8, repr=False)
    webhook_secret_file: Path | None = None
    webhook_secret_previous: str | None = Field(default=None, min_length=8, repr=False)
    webhook_secret_previous_file: Path | None = None
    webhook_secret_previous_until: AwareDatetime | None = None
    webhook_secret_in: tuple[SecretPlace, ...] = Field(default=("body",), min_length=1)
    webhook_signature_seconds: Seconds = Decimal(300)
    operator_token: str | None = Field(default=None, min_length=16, repr=False)
    public_url: str | None = None
    link_secret: str | None = Field(default=None, min_length=16, repr=False)
    link_secret_file: Path | None = None
    limits: Limits = Limits()
    drawdown: Drawdown = Drawdown()
    sizing: Sizing = Sizing()
    pyramiding: Pyramiding = Pyramiding()
    timing: Timing = Timing()
    bars: Bars = Bars()
    paper: PaperFills = PaperFills()
    # By factory: what pydantic-settings finds equal to a default it takes for not given, and `paper` may have been meant.
    execution: Execution = Field(default_factory=Execution)
    approval: Approval = Field(default_factory=Approval)
    instruments: dict[str, dict[str, Any]] = Field(default_factory=dict)
    contracts: ContractFiles = ContractFiles()
    leadership: LeadershipSettings = LeadershipSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    intake: IntakeSettings = IntakeSettings()
    notifications: NotificationSettings = Field(default_factory=NotificationSettings)
    book: BookSettings = BookSettings()
    risk: RiskSettings = RiskSettings()
    # The shell's own, with secrets; it knows what may be in there.
    brokers: dict[str, Any] = Field(default={}, repr=False)
    # What is another for one portfolio, by its name.
    portfolios: dict[str, dict[str, Any]] = Field(default={}, repr=False)

    @field_validator("allowed_addresses", "trusted_proxies")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ip_network(address)  # its ValueError names the address
        return addresses

    @field_validator("trusted_proxies")
    @classmethod
    def _are_not_everybody(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            if ip_network(address).prefixlen == 0:
                raise ValueError(f"{address} trusts everybody: whoever connects could say that he is somebody else")
        return addresses

    @field_validator("public_url")
    @classmethod
    def _is_where_a_browser_finds_us(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        beyond = (parts.username, parts.password, parts.query, parts.fragment, parts.path.strip("/"))
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not is_address or any(beyond) or not url.isascii() or " " in url:
            raise ValueError("must be like https://portfolio.example.com: no path, no name or password")
        if parts.scheme == "http" and parts.hostname not in _THIS_MACHINE:
            raise ValueError("must begin with https://: whoever reads a link on its way could decide with it")
        return f"{parts.scheme}://{parts.netloc}"

    @model_validator(mode="after")
    def _secrets_fit_together(self) -> Self:
        for name in _SECRETS:
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{name} and {name}_file are both given: a secret is in one place")
        previous = self.webhook_secret_previous or self.webhook_secret_previous_file
        if (previous is None) != (self.webhook_secret_previous_until is None):
            raise ValueError("webhook_secret_previous and webhook_secret_previous_until go together")
        if previous is not None and self.webhook_secret is None and self.webhook_secret_file is None:
            raise ValueError("webhook_secret_previous is before webhook_secret, which is not given")
        return self

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic-settings' own hook: the environment goes over the file
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    def of(self, portfolio: str) -> "FileSettings":
        """The same for one portfolio: what is said for all, and over it what `portfolios` says for this one.

        Raises ConfigurationError.
        """
        own = self.portfolios.get(portfolio, {})
        if not own:
            return self
        source = f"`portfolios.{portfolio}`"
        for name in own.keys() & _OF_THE_PROCESS:
            raise ConfigurationError(f"{source}: `{name}` is of the whole process, and not set for one portfolio")
        if "upload_max_bytes" in (own.get("book") or {}):
            raise ConfigurationError(f"{source}: `book.upload_max_bytes` is of the whole process, and not set for one")
        common = self.model_dump(exclude_unset=True, exclude={"portfolios", *_replaced_secrets(own)})
        return validated(_AsGiven, merged(_in_capitals(common), _in_capitals(own)), source)

    def intake_profile(self) -> "Profile | None":
        """How alerts of another shape become ours; None where there are none. Raises ConfigurationError."""
        from core.profiles import profile_named

        for name in self.intake.profiles:
            profile_named(name, self.intake.profiles)  # what is wrong with one is told before it is used
        return None if self.intake.profile is None else profile_named(self.intake.profile, self.intake.profiles)

    @property
    def settings(self) -> Settings:
        """What decides: the file's settings over the defaults, instrument by instrument."""
        return self.settings_from("the configuration")

    def settings_from(self, source: str) -> Settings:
        """The same; a ConfigurationError names `source`."""
        instruments = default_instruments()
        # The environment's names arrive in lower case; they come last, over the file's.
        for name, changes in sorted(self.instruments.items(), key=lambda item: item[0].islower()):
            instruments[name.upper()] = {**instruments.get(name.upper(), {}), **changes}
        parts = {name: getattr(self, name) for name in Settings.model_fields if name != "instruments"}
        return validated(Settings, {**parts, "bars": self._bars(), "instruments": instruments}, source)

    def _bars(self) -> Bars:
        """With the ATR kept where the profile asks for it."""
        profile = self.intake_profile()
        return Bars(keep_atr=True) if profile is not None and profile.asks_last_bar else self.bars


class _AsGiven(FileSettings):
    """One portfolio's: the environment has had its say already."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
_SECRETS = ("webhook_secret", "webhook_secret_previous", "link_secret")


def _replaced_secrets(own: dict[str, Any]) -> set[str]:
    """What is said of secrets for all, and not for a portfolio with its own: not even for a while."""
    previous = {f"webhook_secret_previous{ending}" for ending in ("", "_file", "_until")}
    if own.keys() & {"webhook_secret", "webhook_secret_file"}:
        return {"webhook_secret", "webhook_secret_file", *previous}
    return previous if own.keys() & previous else set()


_OF_THE_PROCESS = frozenset(
    {
        "portfolios",
        "operator_token",
        "public_url",
        "link_secret",
        "link_secret_file",
        "allowed_addresses",
        "trusted_proxies",
        "leadership",
        "rate_limits",
        "risk",
    }
)


def _in_capitals(values: dict[str, Any]) -> dict[str, Any]:
    """Instruments are: one that the environment names in lower case is the file's."""
    instruments = values.get("instruments")
    if not isinstance(instruments, dict):
        return values
    return {**values, "instruments": {str(name).upper(): given for name, given in instruments.items()}}


def merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over `common`, object by object; anything else is replaced whole."""
    both = dict(common)
    for name, value in own.items():
        before = common.get(name)
        both[name] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def validated(model: type[_Model], values: dict[str, Any], source: str) -> _Model:
    """Build `model`, or raise ConfigurationError that names each wrong key and what is allowed."""
    try:
        return model.model_validate(values) if not issubclass(model, BaseSettings) else model(**values)
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {_problems(model, error)}") from error
    except SettingsError as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _problems(model: type[BaseModel], error: ValidationError) -> str:
    # Never the input itself: it may be a secret.
    return "; ".join(
        f"`{'.'.join(map(str, item['loc'])) or 'file'}`: {_rule(model, item['type'], item['loc'], item['msg'])}"
        for item in error.errors(include_input=False)
    )


def _rule(model: type[BaseModel], kind: str, place: tuple[int | str, ...], message: str) -> str:
    """What is allowed there: for an unknown key the known ones, else pydantic's words, or a validator's own."""
    if kind not in ("extra_forbidden", "model_type"):
        return message.removeprefix("Value error, ")
    for part in place if kind == "model_type" else place[:-1]:
        field = model.model_fields.get(str(part))
        model = model if field is None else _model_in(field.annotation) or model
    known = ", ".join(sorted(model.model_fields))
    if kind == "model_type":
        return f"must be an object of some of: {known}"
    near = get_close_matches(str(place[-1]), model.model_fields, n=1)
    return f"is no setting{f'; did you mean `{near[0]}`?' if near else ''} (known: {known})"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field is of, or a mapping's values are of."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def load_file_settings(path: Path | None) -> FileSettings:
    """The configuration file at `path` (TOML or JSON; none: the defaults) with the environment's variables over it.

    Raises ConfigurationError naming the file, the key and what is allowed there.
    """
    _refuse_unknown_variables()
    values = {} if path is None else read_settings(path)
    for name in values.get("instruments") or {}:
        if not isinstance(name, str) or not re.match(INSTRUMENT_NAME, name):
            raise ConfigurationError(f"{path}: `instruments.{name}`: a name is 1 to 29 of A-Z, 0-9 and _")
    file_settings = validated(FileSettings, values, str(path or "environment"))
    file_settings.settings_from(str(path or "environment"))  # an invalid instrument is an error of the file too
    file_settings.intake_profile()
    for portfolio in file_settings.portfolios:
        if not re.fullmatch(PORTFOLIO_NAME, portfolio):
            raise ConfigurationError(
                f"{path}: `portfolios.{portfolio}`: a name is a letter, then up to 29 of a-z, 0-9 and _"
            )
        own = file_settings.of(portfolio)
        own.settings_from(f"`portfolios.{portfolio}`")
        own.intake_profile()
    return file_settings


def _refuse_unknown_variables() -> None:
    # pydantic-settings ignores them; a misspelt limit must not.
    for variable in os.environ:
        if not variable.upper().startswith("PORTFOLIO_"):
            continue
        name = variable[len("PORTFOLIO_") :].lower().split("__")[0]
        if name not in FileSettings.model_fields:
            near = get_close_matches(name, FileSettings.model_fields, n=1)
            rest = variable[len("PORTFOLIO_") + len(name) :]
            hint = f"; did you mean PORTFOLIO_{near[0].upper()}{rest}?" if near else ""
            raise ConfigurationError(f"environment: `{variable}` is no setting{hint}")


def read_settings(path: Path) -> dict[str, Any]:
    """A configuration file as it stands: TOML where its name ends in .toml, else JSON. Raises ConfigurationError."""
    if path.suffix.lower() != ".toml":
        return read_json_object(path)
    import tomllib  # only where there is such a file: the other commands start without it

    # A key that is there twice TOML itself refuses.
    loaded: dict[str, Any] = _read(path, "TOML", lambda text: tomllib.loads(text, parse_float=Decimal))
    return loaded


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object; numbers with a point come as Decimal. Raises ConfigurationError."""

    def parsed(text: str) -> Any:
        return json.loads(text, parse_float=Decimal, object_pairs_hook=lambda pairs: _once_each(path, pairs))

    loaded = _read(path, "JSON", parsed)
    if not isinstance(loaded, dict):
        raise ConfigurationError(f"{path}: must hold a JSON object, not a {type(loaded).__name__}")
    return loaded


def _read(path: Path, language: str, parsed: Callable[[str], Any]) -> Any:
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not {language}: {error}") from error


def _once_each(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of a key that is there twice, whoever wrote it may have meant either value.
    counted = Counter(key for key, _ in pairs)
    if twice := [key for key, count in counted.items() if count > 1]:
        raise ConfigurationError(f"{path}: the key `{twice[0]}` is there {counted[twice[0]]} times")
    return dict(pairs)


class DatabaseSettings(Settled):
    """Where PostgreSQL is, and how long to wait for it.

    Hosts may be several, as a list or separated by commas, with one port for all or one for each: the one that takes writes is
    used. `reads`: where an instance that follows reads what it only shows.
    """

    host: str = "127.0.0.1"
    port: Annotated[str, Field(pattern=r"^[0-9]{1,5}(,[0-9]{1,5})*$", coerce_numbers_to_str=True)] = "5432"
    database: str = Field(default="portfolio_manager", min_length=1)
    user: str = Field(default="pm_user", min_length=1)
    password: str | None = Field(default=None, repr=False)
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    pool_size: int = Field(default=4, ge=1, le=100)
    reads: Literal["primary", "replica"] = "primary"

    @field_validator("host", "port", mode="before")
    @classmethod
    def _with_commas(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if not value or not all(isinstance(one, str | int) and str(one) and "," not in str(one) for one in value):
            raise ValueError("a list is of names, addresses or ports, one in each place")
        return ",".join(map(str, value))

    @field_validator("host")
    @classmethod
    def _are_hosts(cls, hosts: str) -> str:
        # Of several libpq would take an empty one for the local socket.
        if "," in hosts and not all(host.strip() for host in hosts.split(",")):
            raise ValueError("a host is a name, an address, or several with commas between them")
        return hosts

    @field_validator("port")
    @classmethod
    def _are_ports(cls, ports: str, info: ValidationInfo) -> str:
        each = ports.split(",")
        if not all(0 < int(port) <= 65_535 for port in each):
            raise ValueError("a port is 1..65535")
        hosts = info.data.get("host", "").count(",") + 1
        if len(each) not in (1, hosts):
            raise ValueError(f"there are {len(each)} for {hosts} of `host`: give one for all, or one for each")
        return ports


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_database_settings(path: Path, environment: str) -> DatabaseSettings:
    """One environment's entry of database_config.json with `${VAR}` replaced from the process environment.

    Raises ConfigurationError for an unknown environment, an unset variable or a wrong key.
    """
    entries = read_json_object(path)
    entry = entries.get(environment)
    if not isinstance(entry, dict):
        known = ", ".join(sorted(entries)) or "none"
        raise ConfigurationError(f"{path}: has no environment `{environment}`; it has: {known}")
    source = f"{path}: {environment}"
    substituted = {key: _substituted(value, f"{source}.{key}") for key, value in entry.items()}
    return validated(DatabaseSettings, substituted, source)


def _substituted(value: Any, source: str) -> Any:
    if isinstance(value, list):
        return [_substituted(one, source) for one in value]
    if not isinstance(value, str):
        return value
    missing = [name for name in _VARIABLE.findall(value) if name not in os.environ]
    if missing:
        raise ConfigurationError(f"{source}: the environment variable {missing[0]} is not set")
    return _VARIABLE.sub(lambda match: os.environ[match.group(1)], value)
