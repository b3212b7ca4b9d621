"""Settings: defaults as DOMAIN.md gives them, the file, the environment over it, and messages that name key and rule."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from core.config import (
    FileSettings,
    default_instruments,
    default_settings,
    load_database_settings,
    load_file_settings,
    read_json_object,
)
from core.errors import ConfigurationError
from core.numbers import DEFAULT_CAPITAL
from core.settings import Settings
from live.database import DatabaseInUse
from live.portfolios import Served
from live.webhook_secrets import WebhookSecrets
from tests.builders import NOON, settings_with
from tests.fake_engine import FakeEngine


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("PORTFOLIO_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Writes a configuration file (an object, or text as it is) and says where."""

    def write(content: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def message_of(path: Path | None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_file_settings(path)
    return str(refused.value)


# --- defaults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, exchange, lot, point, tick, margin, volatility, stops, pyramids",
    [
        ("BANK_NIFTY", "NFO", 30, 30, "0.20", 270_000, ("0.5", "0.7"), ("1.5", "2.5"), 5),
        ("GOLD_MINI", "MCX", 100, 10, "1", 105_000, ("0.2", "0.3"), ("1.0", "2.0"), 3),
        ("SILVER_MINI", "MCX", 5, 5, "1", 385_000, ("0.2", "0.3"), ("2.0", "3.0"), 5),
        ("COPPER", "MCX", 2500, 2500, "0.05", 300_000, ("0.2", "0.3"), ("3.0", "5.0"), 3),
    ],
)
def test_the_shipped_instruments_are_the_domains_table(
    name: str,
    exchange: str,
    lot: int,
    point: int,
    tick: str,
    margin: int,
    volatility: tuple[str, str],
    stops: tuple[str, str],
    pyramids: int,
) -> None:
    instrument = default_settings().instruments[name]
    assert (instrument.exchange, instrument.currency) == (exchange, "INR")
    assert (instrument.lot_size, instrument.point_value, instrument.margin_per_lot) == (lot, point, margin)
    assert instrument.tick == Decimal(tick)
    assert (instrument.initial_risk_percent, instrument.ongoing_risk_percent) == (1, Decimal("1.5"))
    shown = (instrument.initial_volatility_percent, instrument.ongoing_volatility_percent)
    assert shown == tuple(map(Decimal, volatility))
    assert (instrument.initial_stop_atr, instrument.trailing_stop_atr) == tuple(map(Decimal, stops))
    assert (instrument.max_pyramids, instrument.costs) == (pyramids, None)


def test_no_other_instrument_is_shipped() -> None:
    assert set(default_instruments()) == {"BANK_NIFTY", "GOLD_MINI", "SILVER_MINI", "COPPER"}
    kinds = {name: instrument.kind for name, instrument in default_settings().instruments.items()}
    assert kinds.pop("BANK_NIFTY") == "synthetic_future"
    assert set(kinds.values()) == {"future"}


def test_the_limits_are_the_domains() -> None:
    settings = default_settings()
    assert DEFAULT_CAPITAL == 5_000_000
    assert (settings.limits.risk_percent, settings.limits.pyramid_risk_percent) == (15, 12)
    assert (settings.limits.volatility_percent, settings.limits.pyramid_volatility_percent) == (5, 4)
    assert (settings.limits.margin_percent, settings.limits.margin_warning_percent) == (60, 50)
    assert settings.limits.margin_emergency_percent == 70
    assert (settings.sizing.equity, settings.sizing.efficiency_ratio_scales_risk) == ("blended", True)
    drawdown = settings.drawdown
    assert (drawdown.reduce_from_percent, drawdown.restrict_from_percent, drawdown.block_above_percent) == (5, 10, 15)
    assert (drawdown.reduce_factor, drawdown.restrict_factor) == (Decimal("0.75"), Decimal("0.5"))
    assert (settings.timing.max_entry_age_seconds, settings.timing.max_future_seconds) == (300, 60)
    assert (settings.timing.exit_wait_seconds, settings.timing.same_bar_seconds) == (1, 5)
    assert not settings.timing.intrabar_exits
    pyramiding = settings.pyramiding
    assert (pyramiding.requires_one_r, pyramiding.spacing_atr) == (True, Decimal("0.5"))
    assert pyramiding.discipline_share == pyramiding.profit_share == Decimal("0.5")
    assert (
        settings.paper.slippage_percent,
        settings.paper.costs.percent_of_turnover,
        settings.paper.costs.per_lot,
    ) == (
        0,
        0,
        0,
    )


def test_without_a_file_the_defaults_hold() -> None:
    loaded = load_file_settings(None)
    assert loaded.settings == default_settings()
    assert (loaded.naive_timezone, loaded.initial_capital, loaded.webhook_secret) == ("Asia/Kolkata", None, None)


def test_settings_survive_their_own_json() -> None:
    settings = settings_with(paper={"costs": {"per_lot": "12.3456"}})
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        default_settings().limits.risk_percent = Decimal(99)


# --- the file and the environment ---------------------------------------------------------------------------------


def test_the_file_goes_over_the_defaults_key_by_key(file: Any) -> None:
    loaded = load_file_settings(file({"limits": {"risk_percent": 10.5}, "initial_capital": 7_000_000}))
    assert loaded.initial_capital == 7_000_000
    assert loaded.settings.limits.risk_percent == Decimal("10.5")
    assert loaded.settings.limits.margin_percent == 60


def test_a_fraction_in_the_file_is_exact(file: Any) -> None:
    path = file('{"paper": {"slippage_percent": 0.1000000000000000055}}')
    assert load_file_settings(path).settings.paper.slippage_percent == Decimal("0.1000000000000000055")


def test_an_instrument_is_changed_key_by_key(file: Any) -> None:
    loaded = load_file_settings(file({"instruments": {"GOLD_MINI": {"margin_per_lot": 120_000}}}))
    gold = loaded.settings.instruments["GOLD_MINI"]
    assert (gold.margin_per_lot, gold.lot_size) == (120_000, 100)
    assert loaded.settings.instruments["COPPER"] == default_settings().instruments["COPPER"]


def test_a_new_instrument_is_configuration_not_code(file: Any) -> None:
    bitcoin = {
        "kind": "perpetual",
        "currency": "USDT",
        "lot_size": "0.001",
        "point_value": "0.001",
        "margin_per_lot": 9,
    }
    loaded = load_file_settings(file({"instruments": {"BTC_PERP": bitcoin}}))
    assert loaded.settings.instruments["BTC_PERP"].point_value == Decimal("0.001")
    assert len(loaded.settings.instruments) == 5


def test_the_environment_goes_over_the_file_key_by_key(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_LIMITS__RISK_PERCENT", "11.5")
    monkeypatch.setenv("PORTFOLIO_INITIAL_CAPITAL", "6000000.5")
    monkeypatch.setenv("PORTFOLIO_TIMING__INTRABAR_EXITS", "true")
    monkeypatch.setenv("PORTFOLIO_WEBHOOK_SECRET", "eight-or-more")
    monkeypatch.setenv("PORTFOLIO_OPERATOR_TOKEN", "sixteen-or-more-characters")
    monkeypatch.setenv("PORTFOLIO_ALLOWED_ADDRESSES", '["52.89.214.238"]')
    path = file({"limits": {"risk_percent": 10, "margin_percent": 55}, "initial_capital": 1})
    loaded = load_file_settings(path)
    assert loaded.settings.limits.risk_percent == Decimal("11.5")
    assert loaded.settings.limits.margin_percent == 55
    assert loaded.initial_capital == Decimal("6000000.5")
    assert loaded.settings.timing.intrabar_exits
    assert (loaded.webhook_secret, loaded.operator_token) == ("eight-or-more", "sixteen-or-more-characters")
    assert loaded.allowed_addresses == ("52.89.214.238",)


def test_the_environment_changes_an_instrument_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_INSTRUMENTS__GOLD_MINI__MARGIN_PER_LOT", "120000")
    assert load_file_settings(None).settings.instruments["GOLD_MINI"].margin_per_lot == 120_000


def test_secrets_are_shown_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_WEBHOOK_SECRET", "hush-hush")
    monkeypatch.setenv("PORTFOLIO_OPERATOR_TOKEN", "hush-hush-hush-hush")
    assert "hush" not in repr(load_file_settings(None))
    secrets = WebhookSecrets(clock=lambda: NOON, current="hush of one portfolio", previous="hush before it")
    served = Served(engine_now=FakeEngine, instruments=tuple, naive_timezone=ZoneInfo("UTC"), secrets=secrets)
    assert "hush" not in repr(served)
    assert "hush" not in repr(DatabaseInUse(dsn="host=here password=hush"))


# --- what is wrong is named ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, key, rule",
    [
        ({"limits": {"risk_percent": 101}}, "`limits.risk_percent`", "less than or equal to 100"),
        ({"limits": {"risk_percent": -1}}, "`limits.risk_percent`", "greater than or equal to 0"),
        ({"limits": {"risk_percent": "lots"}}, "`limits.risk_percent`", "valid decimal"),
        ('{"limits": {"risk_percent": NaN}}', "`limits.risk_percent`", "finite"),
        ({"limits": {"risk_percent": "1.1234567"}}, "`limits.risk_percent`", "6 decimal places"),
        ({"limits": {"risc_percent": 1}}, "`limits.risc_percent`", "is no setting"),
        ({"limit": {}}, "`limit`", "is no setting"),
        ({"sizing": {"equity": "all"}}, "`sizing.equity`", "'blended', 'closed', 'open' or 'high_water'"),
        ({"sizing": {"efficiency_ratio_scales_risk": "perhaps"}}, "`sizing.efficiency_ratio_scales_risk`", "boolean"),
        ({"drawdown": {"reduce_factor": 2}}, "`drawdown.reduce_factor`", "less than or equal to 1"),
        ({"drawdown": {"reduce_from_percent": 11}}, "`drawdown`", "reduce_from_percent <= restrict_from_percent"),
        ({"drawdown": {"restrict_from_percent": 16}}, "`drawdown`", "restrict_from_percent <= block_above_percent"),
        ({"timing": {"max_entry_age_seconds": -1}}, "`timing.max_entry_age_seconds`", "greater than or equal to 0"),
        ({"timing": {"exit_wait_seconds": 2}}, "`timing.exit_wait_seconds`", "less than or equal to 1"),
        ({"pyramiding": {"spacing_atr": -1}}, "`pyramiding.spacing_atr`", "greater than or equal to 0"),
        ({"paper": {"slippage_percent": 11}}, "`paper.slippage_percent`", "less than or equal to 10"),
        ({"paper": {"costs": {"per_lot": -1}}}, "`paper.costs.per_lot`", "greater than or equal to 0"),
        ({"initial_capital": 0}, "`initial_capital`", "greater than 0"),
        ({"initial_capital": "1E16"}, "`initial_capital`", "digits"),
        ({"webhook_secret": "short"}, "`webhook_secret`", "at least 8 characters"),
        ({"operator_token": "short"}, "`operator_token`", "at least 16 characters"),
        ({"instruments": {"GOLD_MINI": {"lot_size": 0}}}, "`instruments.GOLD_MINI.lot_size`", "greater than 0"),
        ({"instruments": {"GOLD_MINI": {"max_pyramids": 6}}}, "`instruments.GOLD_MINI.max_pyramids`", "equal to 5"),
        ({"instruments": {"GOLD_MINI": {"kind": "option"}}}, "`instruments.GOLD_MINI.kind`", "'future'"),
        (
            {"instruments": {"GOLD_MINI": {"lots": 1}}},
            "`instruments.GOLD_MINI.lots`",
            "is no setting; did you mean `lot_size`",
        ),
        ({"instruments": {"NEW": {"lot_size": 1}}}, "`instruments.NEW.point_value`", "required"),
        ({"instruments": {"gold mini": {}}}, "`instruments.gold mini`", "A-Z"),
        ({"instruments": {"GOLD_MINI": 3}}, "`instruments.GOLD_MINI`", "dictionary"),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule(file: Any, content: Any, key: str, rule: str) -> None:
    message = message_of(file(content))
    assert key in message
    assert rule in message


@pytest.mark.parametrize(
    "content",
    [
        {"allowed_addresses": ["52.89.214.2388"]},
        {"trusted_proxies": ["haproxy"]},
        {"trusted_proxies": ["10.0.0.7/24"]},
        {"trusted_proxies": ["0.0.0.0/0"]},
        {"trusted_proxies": ["10.0.0.7", "::/0"]},
        {"naive_timezone": "Mars/Phobos"},
        {"drawdown": {"reduce_from_percent": 11}},
        {"drawdown": {"reduce_from_percent": 11}, "instruments": {"NEW": {"lot_size": 1}}},
    ],
)
def test_a_rule_of_our_own_is_told_in_its_own_words_only(file: Any, content: Any) -> None:
    message = message_of(file(content))
    assert "alue error" not in message
    assert "`: " in message


def test_all_that_is_wrong_is_named_at_once(file: Any) -> None:
    message = message_of(file({"limits": {"risk_percent": 101, "margin_percent": -1}}))
    assert "`limits.risk_percent`" in message
    assert "`limits.margin_percent`" in message


def test_a_message_never_holds_the_secret(file: Any) -> None:
    assert "hush" not in message_of(file({"webhook_secret": "hush"}))


def test_a_wrong_setting_names_its_file(file: Any) -> None:
    path = file({"limits": {"risk_percent": 101}})
    assert str(path) in message_of(path)


def test_a_wrong_instrument_names_its_file(file: Any) -> None:
    path = file({"instruments": {"GOLD_MINI": {"lot_size": 0}}})
    assert str(path) in message_of(path)


def test_an_unknown_time_zone_is_named(file: Any) -> None:
    with pytest.raises(ConfigurationError, match="`naive_timezone`"):
        load_file_settings(file({"naive_timezone": "Mars/Phobos"}))


def test_an_allowed_address_that_is_none_is_named(file: Any) -> None:
    with pytest.raises(ConfigurationError, match="allowed_addresses"):
        load_file_settings(file({"allowed_addresses": ["52.89.214.2388"]}))


@pytest.mark.parametrize(
    "name, value, key",
    [
        ("PORTFOLIO_LIMITS__RISK_PERCENT", "much", "`limits.risk_percent`"),
        ("PORTFOLIO_LIMITS__RISC_PERCENT", "1", "`limits.risc_percent`"),
        ("PORTFOLIO_LIMITS", "{", "limits"),
        ("PORTFOLIO_INITIAL_CAPITAL", "-5", "`initial_capital`"),
        ("PORTFOLIO_ALLOWED_ADDRESSES", "52.89.214.238", "allowed_addresses"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str) -> None:
    monkeypatch.setenv(name, value)
    message = message_of(None)
    assert message.startswith("environment: ")
    assert key in message


@pytest.mark.parametrize(
    "content, rule",
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "must hold a JSON object, not a list"),
        ("3", "must hold a JSON object, not a int"),
    ],
)
def test_a_file_that_holds_no_object_is_refused(file: Any, content: str, rule: str) -> None:
    path = file(content)
    message = message_of(path)
    assert str(path) in message
    assert rule in message


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"limits": "\xff"}')
    assert "is not JSON" in message_of(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    message = message_of(tmp_path / "absent.json")
    assert "absent.json: cannot be read: No such file or directory" in message


# --- TOML ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    """Writes a configuration file in TOML and says where."""

    def write(text: str, name: str = "portfolio.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_in_toml_says_the_same_as_one_in_json(file: Any, toml: Any) -> None:
    given = """
        initial_capital = 7_000_000
        allowed_addresses = ["203.0.113.7"]
        limits = {risk_percent = 10.5}  # of the whole portfolio
        [contracts]
        roll_at = 10:00:00
        [instruments.GOLD_MINI]
        margin_per_lot = "120000.25"
        [portfolios.alpha.paper.costs]
        per_lot = 20
    """
    same = {
        "initial_capital": 7_000_000,
        "allowed_addresses": ["203.0.113.7"],
        "limits": {"risk_percent": 10.5},
        "contracts": {"roll_at": "10:00"},
        "instruments": {"GOLD_MINI": {"margin_per_lot": "120000.25"}},
        "portfolios": {"alpha": {"paper": {"costs": {"per_lot": 20}}}},
    }
    in_toml, in_json = load_file_settings(toml(given)), load_file_settings(file(same))
    assert in_toml == in_json
    assert in_toml.of("alpha").settings == in_json.of("alpha").settings


def test_a_fraction_in_toml_is_exact(toml: Any) -> None:
    path = toml("paper.slippage_percent = 0.1000000000000000055", name="UPPER.TOML")
    assert load_file_settings(path).settings.paper.slippage_percent == Decimal("0.1000000000000000055")


def test_the_environment_goes_over_a_file_in_toml(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_LIMITS__RISK_PERCENT", "9")
    limits = load_file_settings(toml("[limits]\nrisk_percent = 10\nmargin_percent = 55")).settings.limits
    assert (limits.risk_percent, limits.margin_percent) == (9, 55)


@pytest.mark.parametrize(
    "text, rule",
    [
        ("limits = {", "is not TOML: "),
        ("[limits]\nrisk_percent = 1\nrisk_percent = 2", "is not TOML: Cannot overwrite a value"),
        ("[limits]\nrisc_percent = 1", "`limits.risc_percent`: is no setting; did you mean `risk_percent`?"),
        ("limits.risk_percent = nan", "`limits.risk_percent`"),
        ("limits.risk_percent = 2026-01-14", "`limits.risk_percent`"),
        ('[instruments."gold mini"]', "`instruments.gold mini`"),
        ('{"limits": {}}', "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_of_toml_is_named(toml: Any, text: str, rule: str) -> None:
    path = toml(text)
    message = message_of(path)
    assert str(path) in message
    assert rule in message


def test_a_file_of_toml_that_is_not_utf_8_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "portfolio.toml"
    assert f"{path}: cannot be read: No such file or directory" in message_of(path)
    path.write_bytes(b'naive_timezone = "\xff"')
    assert f"{path}: is not TOML" in message_of(path)


# --- database_config.json -----------------------------------------------------------------------------------------

LOCAL = {"host": "db1,db2", "port": 5433, "database": "pm", "user": "${PM_USER}", "password": "${PM_PASSWORD}"}


def test_variables_are_put_in_from_the_environment(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PM_USER", "trader")
    monkeypatch.setenv("PM_PASSWORD", "pa$$w${rd}")
    settings = load_database_settings(file({"local": LOCAL}), "local")
    assert (settings.host, settings.port, settings.database, settings.user) == ("db1,db2", "5433", "pm", "trader")
    assert settings.password == "pa$$w${rd}"  # what was put in is not looked at again
    assert "pa$$" not in repr(settings)


def test_several_hosts_are_a_list_or_one_text_with_one_port_for_all_or_one_each(
    file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PM_HOST", "db1")
    for entry, port in (
        ({"host": ["${PM_HOST}", "db2"], "port": [5432, "5433"]}, "5432,5433"),
        ({"host": "db1,db2", "port": "5432,5433"}, "5432,5433"),
        ({"host": ["db1", "db2"]}, "5432"),
    ):
        settings = load_database_settings(file({"local": entry}), "local")
        assert (settings.host, settings.port) == ("db1,db2", port)


def test_several_variables_and_text_make_one_value(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PM_REGION", "eu")
    monkeypatch.setenv("PM_NUMBER", "7")
    path = file({"production": {"host": "db-${PM_REGION}-${PM_NUMBER}.example", "pool_size": "${PM_NUMBER}"}})
    settings = load_database_settings(path, "production")
    assert (settings.host, settings.pool_size) == ("db-eu-7.example", 7)


def test_the_defaults_of_a_database(file: Any) -> None:
    settings = load_database_settings(file({"local": {}}), "local")
    assert (settings.host, settings.port, settings.database, settings.user) == (
        "127.0.0.1",
        "5432",
        "portfolio_manager",
        "pm_user",
    )
    assert (settings.password, settings.sslmode, settings.pool_size) == (None, "prefer", 4)


def test_a_variable_that_is_not_set_is_named(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PM_USER", "trader")
    monkeypatch.delenv("PM_PASSWORD", raising=False)
    path = file({"local": LOCAL})
    with pytest.raises(ConfigurationError, match=r"local\.password: the environment variable PM_PASSWORD is not set"):
        load_database_settings(path, "local")


@pytest.mark.parametrize(
    "content, known",
    [({"local": {}, "production": {}}, "local, production"), ({}, "none"), ({"staging": 3}, "staging")],
)
def test_an_unknown_environment_is_named_with_the_known_ones(file: Any, content: Any, known: str) -> None:
    with pytest.raises(ConfigurationError, match=f"has no environment `staging`; it has: {known}"):
        load_database_settings(file(content), "staging")


@pytest.mark.parametrize(
    "entry, key, rule",
    [
        ({"prot": 5432}, "`prot`", "is no setting"),
        ({"port": "five"}, "`port`", "pattern"),
        ({"port": "5432,"}, "`port`", "pattern"),
        ({"sslmode": "always"}, "`sslmode`", "'disable', 'allow', 'prefer', 'require', 'verify-ca' or 'verify-full'"),
        ({"pool_size": 0}, "`pool_size`", "greater than or equal to 1"),
        ({"pool_size": 101}, "`pool_size`", "less than or equal to 100"),
        ({"database": ""}, "`database`", "at least 1 character"),
        ({"user": ""}, "`user`", "at least 1 character"),
        ({"host": 7}, "`host`", "valid string"),
        ({"host": "db1,,db2"}, "`host`", "several with commas"),
        ({"host": ["db1", ""]}, "`host`", "one in each place"),
        ({"host": ["db1,db2"]}, "`host`", "one in each place"),
        ({"host": []}, "`host`", "one in each place"),
        ({"host": ["db1", "db2"], "port": [5432, 5433, 5434]}, "`port`", "there are 3 for 2 of `host`"),
        ({"host": ["db1", "db2"], "port": [5432, 70000]}, "`port`", "a port is 1..65535"),
        ({"reads": "standby"}, "`reads`", "'primary' or 'replica'"),
    ],
)
def test_a_wrong_key_of_a_database_is_named_with_its_rule(file: Any, entry: Any, key: str, rule: str) -> None:
    path = file({"local": entry})
    with pytest.raises(ConfigurationError) as refused:
        load_database_settings(path, "local")
    message = str(refused.value)
    assert message.startswith(f"{path}: local: {key}")
    assert rule in message


def test_a_wrong_password_is_not_repeated(file: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_database_settings(file({"local": {"password": 12345678}}), "local")
    assert "12345678" not in str(refused.value)


def test_a_port_is_at_most_65535(file: Any) -> None:
    with pytest.raises(ConfigurationError, match="port"):
        load_database_settings(file({"local": {"port": 99999}}), "local")


def test_a_json_objects_fractions_are_decimals(file: Any) -> None:
    assert read_json_object(file('{"a": 0.1, "b": 1}')) == {"a": Decimal("0.1"), "b": 1}


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_LIMIT__RISK_PERCENT", "10")
    with pytest.raises(ConfigurationError, match=r"PORTFOLIO_LIMIT__RISK_PERCENT.*did you mean PORTFOLIO_LIMITS"):
        load_file_settings(None)
    monkeypatch.delenv("PORTFOLIO_LIMIT__RISK_PERCENT")
    monkeypatch.setenv("PORTFOLIO_ZZZ", "10")
    with pytest.raises(ConfigurationError, match=r"PORTFOLIO_ZZZ` is no setting$"):
        load_file_settings(None)


def test_an_unknown_key_is_told_with_the_known_ones(file: Any) -> None:
    assert "did you mean `risk_percent`?" in message_of(file({"limits": {"risc_percent": 1}}))
    assert "known: equity, mode" not in message_of(file({"limits": {"risc_percent": 1}}))
    assert "must be an object of some of: margin_emergency_percent" in message_of(file({"limits": 5}))


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"limits": {"risk_percent": 1, "risk_percent": 2}}')
    with pytest.raises(ConfigurationError, match=r"config.json: the key `risk_percent` is there 2 times"):
        load_file_settings(path)


def test_two_spellings_of_one_instrument_are_refused(file: Any) -> None:
    assert "`instruments.gold`" in message_of(file({"instruments": {"gold": {}, "GOLD": {}}}))


# --- several portfolios


def test_a_portfolios_own_settings_are_put_over_the_common_ones_key_by_key(file: Any) -> None:
    own = {
        "limits": {"risk_percent": 6},
        "webhook_secret": "of beta alone",
        "instruments": {"GOLD_MINI": {"max_pyramids": 2}},
    }
    common = {
        "limits": {"risk_percent": 10, "margin_percent": 40},
        "webhook_secret": "of all of them",
        "instruments": {"GOLD_MINI": {"margin_per_lot": 120000}},
    }
    loaded = load_file_settings(file({**common, "portfolios": {"beta": own}}))
    beta, other = loaded.of("beta"), loaded.of("alpha")
    assert other is loaded
    assert (beta.limits.risk_percent, beta.limits.margin_percent) == (6, 40)
    assert (beta.webhook_secret, other.webhook_secret) == ("of beta alone", "of all of them")
    gold = beta.settings.instruments["GOLD_MINI"]
    assert (gold.max_pyramids, gold.margin_per_lot) == (2, 120000)
    assert other.settings.instruments["GOLD_MINI"].max_pyramids != 2


def test_the_environment_goes_over_what_is_common_and_not_over_a_portfolios_own(
    file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTFOLIO_LIMITS__RISK_PERCENT", "8")
    monkeypatch.setenv("PORTFOLIO_INSTRUMENTS__GOLD_MINI__MAX_PYRAMIDS", "3")
    monkeypatch.setenv("PORTFOLIO_PORTFOLIOS", '{"beta": {"webhook_secret": "of the variable"}}')
    own = {"limits": {"risk_percent": 6}, "instruments": {"GOLD_MINI": {"max_pyramids": 2}}}
    loaded = load_file_settings(file({"limits": {"risk_percent": 10}, "portfolios": {"beta": own}}))
    assert (loaded.limits.risk_percent, loaded.of("beta").limits.risk_percent) == (8, 6)
    assert loaded.settings.instruments["GOLD_MINI"].max_pyramids == 3
    assert loaded.of("beta").settings.instruments["GOLD_MINI"].max_pyramids == 2
    assert loaded.of("beta").webhook_secret == "of the variable"


def test_what_was_given_for_all_counts_as_given_for_each(file: Any) -> None:
    loaded = load_file_settings(file({"execution": {"fills": "paper"}, "portfolios": {"beta": {"initial_capital": 5}}}))
    assert "fills" in loaded.of("beta").execution.model_fields_set


@pytest.mark.parametrize(
    "own,rule",
    [
        ({"beta": {"limits": {"risc_percent": 1}}}, "did you mean `risk_percent`"),
        ({"beta": {"operator_token": "x" * 20}}, "`operator_token` is of the whole process"),
        ({"beta": {"leadership": {}}}, "`leadership` is of the whole process"),
        ({"beta": {"risk": {"enabled": True}}}, "`risk` is of the whole process"),
        ({"beta": {"portfolios": {}}}, "`portfolios` is of the whole process"),
        ({"beta": {"instruments": {"GOLD_MINI": {"lot_size": 0}}}}, "lot_size"),
        ({"Beta": {"initial_capital": 5}}, "a name is a letter"),
        ({"be-ta": {"initial_capital": 5}}, "a name is a letter"),
    ],
)
def test_what_is_wrong_in_a_portfolios_settings_is_told_with_its_name(file: Any, own: Any, rule: str) -> None:
    message = message_of(file({"portfolios": own}))
    assert f"`portfolios.{next(iter(own))}`" in message
    assert rule in message


def test_a_portfolios_secret_is_not_repeated(file: Any) -> None:
    assert "short" not in message_of(file({"portfolios": {"beta": {"webhook_secret": "short"}}}))
    assert "hidden secret" not in repr(
        load_file_settings(file({"portfolios": {"beta": {"webhook_secret": "hidden secret"}}}))
    )


@pytest.mark.parametrize(
    "url",
    [
        "portfolio.example.com",
        "ftp://portfolio.example.com",
        "https://",
        "https://portfolio.example.com/below",
        "https://portfolio.example.com?x=1",
        "https://ada:secret@portfolio.example.com",
        "https://portfolio.example.com:99999",
        "http://portfolio.example.com",
        "https://portfolio.exam ple.com",
    ],
)
def test_an_address_that_no_link_can_lead_to_safely_is_refused(url: str, tmp_path: Path) -> None:
    file = tmp_path / "portfolio.json"
    file.write_text(json.dumps({"public_url": url}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="`public_url`") as refused:
        load_file_settings(file)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url, kept",
    [
        ("https://portfolio.example.com/", "https://portfolio.example.com"),
        ("https://portfolio.example.com:8443", "https://portfolio.example.com:8443"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
    ],
)
def test_an_address_that_links_lead_to_is_kept_without_its_slash(url: str, kept: str) -> None:
    assert FileSettings(public_url=url).public_url == kept


def test_the_secret_of_links_is_in_one_place_and_of_the_process(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.json"
    for given, words in (
        ({"link_secret": "x" * 16, "link_secret_file": "/y"}, "both given"),
        ({"portfolios": {"alpha": {"link_secret": "x" * 16}}}, "of the whole process"),
    ):
        file.write_text(json.dumps(given), encoding="utf-8")
        with pytest.raises(ConfigurationError, match=words):
            load_file_settings(file)
