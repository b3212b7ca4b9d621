"""All that must be the same after a crash, or in a second run: terms, instances and wall clocks aside."""

from tests.queries import rows

_QUERIES = (
    "SELECT (to_jsonb(p) - 'created_at' - 'updated_at')::TEXT FROM portfolio_positions p ORDER BY position_id",
    "SELECT (to_jsonb(s) - 'updated_at')::TEXT FROM portfolio_state s",
    "SELECT (to_jsonb(y) - 'updated_at')::TEXT FROM pyramiding_state y ORDER BY instrument",
    "SELECT fingerprint, processing_status, outcome::TEXT FROM signal_log ORDER BY fingerprint",
    "SELECT (to_jsonb(q) - 'created_at' - 'updated_at' - 'journal_seq')::TEXT FROM proposals q ORDER BY proposal_id",
    # The number of an entry is another one where a term began in between.
    (
        "SELECT (input - 'received_at')::TEXT, regexp_replace(events::TEXT, '\"journal_seq\": [0-9]+', '', 'g')"
        " FROM decision_journal WHERE kind <> 'term' ORDER BY seq"
    ),
)


def state_of(dsn: str) -> list[list[tuple]]:
    """State tables, signal log and journal of the first schema in the search path, as text."""
    return [rows(dsn, query) for query in _QUERIES]
