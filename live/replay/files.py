"""The files of a replay as one list of inputs in order: trade lists, alerts, bars; and the marks of what stays open."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from core.alert import canonical_payload
from core.models import ENTRIES, Signal
from core.profiles import Profile
from core.settings import Settings
from live.replay.alert_lines import read_alerts
from live.replay.bars import Bar, atr_at, er_at, market_data_of, read_bars
from live.replay.lines import bad_file, start_of
from live.replay.merge import is_within, merged
from live.replay.model import Recorded
from live.replay.trade_list import read_trade_list

_LOOK_BYTES = 4096


class Files(Struct, frozen=True, kw_only=True):
    """What to read, and how: files with the instrument that a list in them is of, bars by instrument, times without an
    offset of `timezone`, bars from `start` up to `end`, alerts of another shape than ours by a `profile`."""

    paths: Sequence[tuple[str, Path]]
    bars: dict[str, Path]
    timezone: tzinfo
    start: datetime | None = None
    end: datetime | None = None
    profile: Profile | None = None


class Inputs(Struct, frozen=True, kw_only=True):
    """Everything to replay, in order, where the lists say that open positions stand, and what they say was earned:
    the sum of their closed trades, None where something else is replayed too or the lists are cut."""

    recorded: list[Recorded]
    marks: dict[tuple[str, str], Decimal]
    listed_net: Decimal | None = None


def holds_alerts(path: Path) -> bool:
    """Whether a file holds alerts as JSON, rather than a CSV. Raises BadFile where it cannot be read."""
    return start_of(path, _LOOK_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def read_files(files: Files, settings: Settings) -> Inputs:
    """Read all files before anything is replayed. Raises BadFile; by our own rules also where a size cannot be found."""
    as_listed = settings.sizing.mode == "as_listed"
    bars = {name: read_bars(path, instrument=name, timezone=files.timezone) for name, path in files.bars.items()}
    streams: list[list[Recorded]] = []
    marks: dict[tuple[str, str], Decimal] = {}
    listed_net = Decimal(0)
    whole = as_listed and files.start is None and files.end is None
    for instrument, path in files.paths:
        if holds_alerts(path):
            read = read_alerts(
                path,
                instruments=settings.instruments,
                naive_timezone=files.timezone,
                as_listed=as_listed,
                profile=files.profile,
            )
            streams.append(list(read))
            whole = False
            continue
        listed = read_trade_list(path, instrument=instrument, timezone=files.timezone)
        listed_net += sum(listed.listed.values())
        within = [one for one in listed.inputs if is_within(one.signal.bar, files.start, files.end)]
        known = bars.get(instrument, [])
        streams.append(within if as_listed else [_enriched(path, one, known, settings) for one in within])
        # Where the list is cut, its last prices are not those of the last input.
        if files.end is None:
            marks |= {(mark.instrument, mark.layer): mark.price for mark in listed.marks}
    streams += [market_data_of(series, name) for name, series in bars.items()]
    recorded = merged(streams, start=files.start, end=files.end)
    return Inputs(recorded=recorded, marks=marks, listed_net=listed_net if whole else None)


def _enriched(path: Path, one: Recorded, bars: Sequence[Bar], settings: Settings) -> Recorded:
    """A listed entry with the stop, ATR and ER that our own sizing needs, of the bar it was made on."""
    signal = one.signal
    if signal.type not in ENTRIES:
        return one
    atr, er = atr_at(bars, signal.bar), er_at(bars, signal.bar)
    if not atr or er is None:
        raise bad_file(
            path,
            one.line,
            "`--sizing rules` needs a stop, an ATR and an ER for every entry, which a list of trades has not: give "
            "--bars that begin early enough, replay alerts that carry them, or use --sizing as-listed",
        )
    distance = atr * settings.instruments[signal.instrument].initial_stop_atr
    return _with(one, stop=_rounded(signal.price - signal.side.sign * distance), atr=atr, er=er)


def _with(one: Recorded, **values: Decimal) -> Recorded:
    signal: Signal = replace(one.signal, **values)
    return replace(one, signal=signal, payload=canonical_payload(signal))


def _rounded(stop: Decimal) -> Decimal:
    return round(stop, 8)
