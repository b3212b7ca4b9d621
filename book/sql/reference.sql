-- name: hold_reference
-- One adds to the reference data or the master at a time, until its transaction ends: no name comes twice.
SELECT pg_advisory_xact_lock(hashtextextended('book.reference_data', 0))::TEXT;

-- name: entities
-- Issuers, sectors, geographies, currencies, with the names of the groups that they are in.
SELECT
    r.entity_id, r.entity_type, r.name, r.ticker, r.isin, r.cusip, r.parent_entity_id, p.name AS parent
FROM book.reference_data AS r
LEFT JOIN book.reference_data AS p ON r.parent_entity_id = p.entity_id
WHERE %(entity_type)s::TEXT IS NULL OR r.entity_type = %(entity_type)s::TEXT
ORDER BY r.entity_type, r.name, r.entity_id;

-- name: ratings_on
-- The newest rating of each issuer by each agency on or before a day.
SELECT DISTINCT ON (e.name, r.entity_id, r.agency)
    r.entity_id, e.name AS issuer, r.agency, r.rating, r.outlook, r.as_of_date
FROM book.rating_history AS r
INNER JOIN book.reference_data AS e ON r.entity_id = e.entity_id
LEFT JOIN book.market_data_feed AS f ON r.feed_id = f.feed_id
WHERE r.as_of_date <= %(day)s::DATE AND coalesce(f.validation_status, 'PASS') IN ('PASS', 'WARN')
ORDER BY e.name ASC, r.entity_id ASC, r.agency ASC, r.as_of_date DESC;

-- name: prices_on
-- The newest price of each instrument on or before a day; of several of that day the one that was brought last.
SELECT i.symbol AS instrument, p.price, p.currency, p.as_of_date, p.source
FROM book.instrument AS i
CROSS JOIN
    LATERAL (
        SELECT p.price, p.currency, p.as_of_date, f.source
        FROM book.price AS p
        INNER JOIN book.market_data_feed AS f ON p.feed_id = f.feed_id
        WHERE p.instrument_id = i.instrument_id AND p.as_of_date <= %(day)s::DATE AND f.validation_status IN ('PASS', 'WARN')
        ORDER BY p.as_of_date DESC, p.feed_id DESC
        LIMIT 1
    ) AS p
ORDER BY i.symbol;

-- name: servicing_on
-- Where each loan stood by the newest word on or before a day; of several of that day the one that was brought last.
SELECT
    i.symbol AS instrument, i.currency, s.as_of_date, s.outstanding_balance, s.principal_paid, s.interest_paid, s.days_past_due
FROM book.instrument AS i
CROSS JOIN
    LATERAL (
        SELECT s.as_of_date, s.outstanding_balance, s.principal_paid, s.interest_paid, s.days_past_due
        FROM book.loan_servicing AS s
        WHERE s.instrument_id = i.instrument_id AND s.as_of_date <= %(day)s::DATE
        ORDER BY s.as_of_date DESC, s.batch_id DESC
        LIMIT 1
    ) AS s
ORDER BY i.symbol;

-- name: lineage_of_batch
-- Where an upload and each feed that it brought came from, and what was done to them and checked.
SELECT
    l.lineage_id, l.feed_id, f.feed_type, f.as_of_date, l.source_system, l.source_reference, l.transformation_chain,
    l.quality_checks_passed, l.quality_checks_json, l.metadata_json, l.ingested_at
FROM book.data_lineage AS l
LEFT JOIN book.market_data_feed AS f ON l.feed_id = f.feed_id
WHERE l.batch_id = %(batch)s::BIGINT OR f.batch_id = %(batch)s::BIGINT
ORDER BY l.lineage_id;
