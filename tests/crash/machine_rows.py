"""What the database holds and what an engine shows, in plain values that can be compared."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection

_SNAPSHOT = """
SELECT json_build_object(
    'journal', (
        SELECT coalesce(json_agg(to_jsonb(j) || jsonb_build_object('log', to_jsonb(s)) ORDER BY j.seq), '[]')
        FROM decision_journal j LEFT JOIN signal_log s USING (fingerprint) WHERE j.seq > %(after)s
    ),
    'signals', (SELECT count(*) FROM signal_log),
    'positions', (SELECT coalesce(jsonb_object_agg(position_id, to_jsonb(p)), '{}') FROM portfolio_positions p),
    'state', (SELECT to_jsonb(s) FROM portfolio_state s),
    'pyramiding', (SELECT coalesce(jsonb_object_agg(instrument, to_jsonb(y)), '{}') FROM pyramiding_state y)
)::TEXT
"""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T.*")


class Tables:
    """A look at a database from outside, past every proxy."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None

    def snapshot(self, after: int) -> dict[str, Any]:
        """The tables at one moment, as one statement sees them; of the journal what comes after an entry."""
        try:
            return self._read(after)
        except psycopg2.OperationalError:
            # The server was started again since.
            self.close()
            return self._read(after)

    def close(self) -> None:
        """Look no more."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _read(self, after: int) -> dict[str, Any]:
        if self._connection is None:
            self._connection = psycopg2.connect(self._dsn)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(_SNAPSHOT, {"after": after})
            (found,) = cursor.fetchone() or ("{}",)
        return json.loads(found, parse_float=Fraction)


def plain(value: Any) -> Any:
    """Numbers as fractions, times in UTC, however they were written."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Fraction(value)
    if isinstance(value, str) and _TIME.fullmatch(value):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What of `expected` is otherwise in `found`, as pairs; a key's absence is None."""
    pairs = {name: (plain(value), plain(found.get(name))) for name, value in expected.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def rows_unlike(shown: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    """Where what an engine shows (open positions, state, pyramiding) is not what the tables hold."""
    still_open = {name: row for name, row in tables["positions"].items() if row["lots"]}
    kept = {"positions": still_open, "pyramiding": tables["pyramiding"], "state": {"row": tables["state"]}}
    held = {**shown, "state": {"row": shown["state"]}}
    unlike = {}
    for table, rows in kept.items():
        for name in rows.keys() | held[table].keys():
            row, seen = rows.get(name), held[table].get(name)
            if row is None or seen is None or differences(seen, row):
                unlike[f"{table} {name}"] = "only one has it" if None in (row, seen) else differences(seen, row)
    return unlike


def ahead(shown: Mapping[str, Any], tables: Mapping[str, Any]) -> list[str]:
    """What an engine showed before the tables had it; `tables` were read later."""
    kept = {**tables["positions"], "state": tables["state"]}
    seen = {**shown["positions"], "state": shown["state"]}
    return [name for name, row in seen.items() if row["version"] > (kept.get(name) or {"version": 0})["version"]]
