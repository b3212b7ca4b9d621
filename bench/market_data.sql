-- name: market_instruments
-- Twenty that bars are of.
INSERT INTO book.instrument (symbol, name, asset_class, kind, currency)
SELECT 'BENCH_' || n, 'Bench ' || n, 'OTHER', 'future', 'INR' FROM generate_series(1, 20) AS n;

-- name: market_source
-- Who tells it.
INSERT INTO risk.data_source (name, kind) VALUES ('bench', 'file');

-- name: market_series
-- A thousand series.
INSERT INTO risk.series_metadata (source_id, series_code, name)
SELECT d.source_id, 'BENCH_' || n, 'Bench ' || n FROM risk.data_source AS d, generate_series(1, 1000) AS n WHERE d.name = 'bench';

-- name: market_bars
-- So many bars of a minute, an instrument's after another's.
INSERT INTO risk.market_data (timestamp, instrument_id, source_id, timeframe, open, high, low, close, volume)
SELECT
    '2020-01-01T00:00:00Z'::TIMESTAMPTZ + n * INTERVAL '1 minute', i.instrument_id, d.source_id, '1m',
    100 + n %% 50, 102 + n %% 50, 99 + n %% 50, 101 + n %% 50, n %% 1000
FROM risk.data_source AS d, book.instrument AS i, generate_series(1, %(rows)s / 20) AS n
WHERE d.name = 'bench' AND i.symbol LIKE 'BENCH%%';

-- name: market_observations
-- So many values: a day's in four revisions, each a month after the one before.
INSERT INTO risk.macro_series (observation_date, series_id, revision, release_time, value)
SELECT
    '2010-01-01'::DATE + n, s.series_id, r, ('2010-01-02'::DATE + n + 30 * r)::TIMESTAMP AT TIME ZONE 'UTC', n %% 1000 + r
FROM risk.series_metadata AS s, generate_series(1, %(rows)s / 4000) AS n, generate_series(0, 3) AS r;

-- name: market_raw_bars
-- The limit: the same rows by the key, asked for bare.
SELECT m.timestamp, m.open, m.high, m.low, m.close, m.settlement, m.volume, m.open_interest
FROM risk.market_data AS m
WHERE
    m.instrument_id = %(instrument_id)s
    AND m.timeframe = '1m'
    AND m.source_id = %(source_id)s
    AND m.expiry IS NULL
    AND m.strike IS NULL
    AND m.option_type IS NULL
    AND m.timestamp <= %(until)s
ORDER BY m.expiry DESC, m.strike DESC, m.option_type DESC, m.timestamp DESC
LIMIT %(last)s;

-- name: market_raw_observations
-- The limit: every revision of one series, asked for bare.
SELECT
    m.observation_date,
    m.value,
    m.revision,
    m.release_time
FROM risk.macro_series AS m
WHERE m.series_id = %(series_id)s AND m.release_time <= %(until)s
ORDER BY m.observation_date, m.revision;

-- name: market_keys
-- What the table of that name is found by, and how it is made.
SELECT 'CONSTRAINT ' || k.conname AS name, 'CONSTRAINT ' || k.conname || ' ' || pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint AS k
WHERE k.conrelid = %(name)s::REGCLASS AND k.contype IN ('p', 'u', 'f');
