"""The brokers' settings: checked, and silent about what is secret."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.config import load_file_settings
from core.errors import ConfigurationError
from live.bootstrap import run_live
from live.brokers.quotes_file import read_quotes
from live.brokers.settings import BrokersSettings, CcxtSettings, OpenAlgoSettings, PaperSettings
from live.options import LiveOptions
from live.order_desk import SWITCH, brokers_settings, order_desk, require_accounts_apart, settings_for
from tests.builders import NOON, settings_with
from tests.contracts import a_contracts_desk
from tests.fake_engine import FakeEngine

KEY = "a-key-that-nobody-may-see"


def test_the_paper_broker_is_the_default_and_needs_nothing() -> None:
    assert BrokersSettings().use == "paper"
    assert PaperSettings().slippage_percent == 0


@pytest.mark.parametrize("name", ["openalgo", "ccxt"])
def test_a_broker_that_is_used_has_to_be_set(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        BrokersSettings.model_validate({"use": name})


def test_the_parts_of_an_order_sum_to_the_whole() -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        PaperSettings(fill_fractions=(Decimal("0.5"), Decimal("0.4")))


@pytest.mark.parametrize(
    "url", ["127.0.0.1:5000", "http://user:pass@host", "http://host/?apikey=1", "ftp://host", "http://", "http://h:x"]
)
def test_an_address_is_plain_http(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        OpenAlgoSettings.model_validate({"url": url, "api_key": KEY})


def test_an_address_may_end_in_a_slash() -> None:
    assert OpenAlgoSettings.model_validate({"url": "http://host:5000/", "api_key": KEY}).url == "http://host:5000"


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC/USD:BTC", "BTC/USDT:USDC"])
def test_only_spot_and_linear_symbols_are_taken(symbol: str) -> None:
    with pytest.raises(ValidationError, match="neither"):
        CcxtSettings(venue="bybit", symbols=(symbol,))


@pytest.mark.parametrize(
    "wrong",
    [
        {"openalgo": {"api_key": KEY, "read_seconds": 0}},
        {"openalgo": {"api_key": [KEY]}},
        {"openalgo": {"apikey": KEY}},
        {"ccxt": {"venue": "bybit", "secret": KEY, "symbols": []}},
    ],
)
def test_neither_a_mistake_nor_a_repr_shows_a_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        BrokersSettings.model_validate(wrong)
    assert KEY not in str(refused.value)
    assert KEY not in repr(OpenAlgoSettings.model_validate({"api_key": KEY}))


@pytest.mark.parametrize("venue, given, shows", [("bybit", None, True), ("gate", None, False), ("gate", True, True)])
def test_a_venue_that_is_not_known_to_show_our_ids_is_taken_not_to(venue: str, given: bool | None, shows: bool) -> None:
    settings = CcxtSettings(venue=venue, symbols=("BTC/USDT",), keeps_client_order_ids=given)
    assert settings.shows_client_order_ids is shows


def test_shares_are_delivered_and_derivatives_carried() -> None:
    settings = OpenAlgoSettings.model_validate({"api_key": KEY})
    assert [settings.product_on(exchange) for exchange in ("NSE", "NFO", "MCX")] == ["CNC", "NRML", "NRML"]


def a_file(folder: Path, *lines: str) -> Path:
    file = folder / "quotes.csv"
    file.write_text("\n".join(("time,symbol,price", *lines)), encoding="utf-8")
    return file


def test_a_quotes_file_is_read_in_the_order_of_its_times(tmp_path: Path) -> None:
    file = a_file(tmp_path, "2026-01-14T11:46:00+05:30,GOLD,72001.50", "2026-01-14T06:15:00Z,GOLD,72000")
    first, second = read_quotes(file)
    assert (first.price, second.price) == (Decimal(72_000), Decimal("72001.50"))
    assert second.at.isoformat() == "2026-01-14T06:16:00+00:00"


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("2026-01-14T06:15:00,GOLD,1", "line 2: time must have an offset"),
        ("yesterday,GOLD,1", "line 2: time must be ISO 8601"),
        ("2026-01-14T06:15:00Z,GOLD,NaN", "line 2: a quote has a symbol and a positive price"),
        ("2026-01-14T06:15:00Z,GOLD,-1", "line 2: a quote has a symbol and a positive price"),
        ("2026-01-14T06:15:00Z,,1", "line 2: a quote has a symbol and a positive price"),
        ("2026-01-14T06:15:00Z,GOLD", "line 2"),
    ],
)
def test_a_quote_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read_quotes(a_file(tmp_path, line))


def test_a_quotes_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "quotes.csv"
    file.write_text("at,symbol,price\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="column time is missing"):
        read_quotes(file)


def test_a_quotes_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_quotes(tmp_path / "nothing.csv")


# --- with what decides


def in_use(broker: str, **ccxt: Any) -> BrokersSettings:
    return BrokersSettings.model_validate(
        {
            "use": broker,
            "openalgo": {"api_key": "for-tests"},
            "ccxt": {"venue": "bybit", "symbols": ["BTC/USDT"], **ccxt},
        }
    )


def test_the_broker_takes_nothing_from_how_orders_are_executed_but_what_it_cannot_do() -> None:
    given = settings_with(execution={"fills": "broker", "tries": 2, "stop_atr": "2", "legs": True})
    for broker in (in_use("openalgo"), in_use("ccxt")):
        execution = settings_for(given, broker).execution
        assert (execution.fills, execution.tries, execution.stop_atr) == ("broker", 2, 2)
    assert settings_for(given, in_use("ccxt", stop_orders=False)).execution.stop_atr is None
    # The paper broker knows no price of an option.
    assert not settings_for(given, in_use("paper")).execution.legs
    assert settings_for(given, in_use("openalgo")).execution.legs


@pytest.mark.parametrize("broker", ["openalgo", "ccxt"])
def test_fills_on_paper_beside_a_real_broker_are_refused_not_overridden(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"execution": {"fills": "paper"}}')
    given = load_file_settings(file).settings
    assert settings_for(given, in_use("paper")).execution.fills == "paper"
    with pytest.raises(ConfigurationError, match=f"`execution.fills` is `paper`, and with `--broker {broker}`"):
        settings_for(given, in_use(broker))
    monkeypatch.setenv("PORTFOLIO_EXECUTION__FILLS", "paper")
    with pytest.raises(ConfigurationError, match="leave the setting out"):
        settings_for(load_file_settings(None).settings, in_use(broker))


@pytest.mark.parametrize("content", ["{}", '{"execution": {}}', '{"execution": {"fills": "broker"}}'])
def test_fills_are_waited_for_where_a_real_broker_makes_them(content: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    assert settings_for(load_file_settings(file).settings, in_use("openalgo")).execution.fills == "broker"


def test_another_broker_in_the_file_than_the_one_that_is_started_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"brokers": {"use": "openalgo"}}')
    with pytest.raises(ConfigurationError, match=r"`brokers\.use` is another than `--broker paper`"):
        brokers_settings(load_file_settings(file), "paper")


def test_the_folder_of_the_switch_is_there_before_any_order_can_be_sent(tmp_path: Path) -> None:
    given = {"url": "http://127.0.0.1:9", "api_key": KEY, "read_attempts": 1}
    brokers = BrokersSettings.model_validate({"use": "openalgo", "openalgo": given})
    desk = order_desk(
        FakeEngine(),  # type: ignore[arg-type] # nothing is started
        settings_with(execution={"fills": "broker"}),
        brokers,
        tmp_path / "data" / "broker" / "main",
        clock=lambda: NOON,
        may_send=lambda: False,
        contracts=a_contracts_desk(),
    )
    with desk:
        (tmp_path / "data" / "broker" / SWITCH).touch()


def _two_portfolios(tmp_path: Path, own: dict[str, Any]) -> Path:
    file = tmp_path / "portfolios.json"
    common = {"openalgo": {"api_key": KEY}, "markets": {"GOLD_MINI": {"symbol": "GOLDM", "exchange": "MCX"}}}
    file.write_text(json.dumps({"brokers": common, "portfolios": {"beta": {"brokers": own}}}))
    return file


def test_two_portfolios_do_not_trade_the_same_at_one_account(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An order whose answer is lost is looked for by its shape, and a position is the account's: whose would they be?"""
    file = _two_portfolios(tmp_path, {})
    # Where nothing can be made: a configuration that is taken ends there.
    options = LiveOptions(data_dir=file / "data", portfolios=("alpha", "beta"), config=file, broker="openalgo")
    assert run_live(options) == 1
    told = capsys.readouterr().err
    assert "portfolios alpha and beta would both trade GOLDM (MCX) at one account of openalgo" in told
    assert KEY not in told


@pytest.mark.parametrize(
    "broker, own",
    [
        ("openalgo", {"openalgo": {"api_key": "another"}}),
        ("openalgo", {"markets": {"GOLD_MINI": {"symbol": "GOLDPETAL", "exchange": "MCX"}}}),
        # Each has a book of its own.
        ("paper", {}),
    ],
)
def test_two_portfolios_may_trade_apart(tmp_path: Path, broker: str, own: dict[str, Any]) -> None:
    settings = load_file_settings(_two_portfolios(tmp_path, own))
    require_accounts_apart({name: brokers_settings(settings.of(name), broker) for name in ("alpha", "beta")})
