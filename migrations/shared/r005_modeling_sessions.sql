-- What if: sessions on a copy of the book, snapshots of them, and the record of what was exported. Idempotent. A copy is a document of
-- its own with its hash: nothing of a session refers to a row that is traded, marked or reckoned anew.

CREATE TABLE IF NOT EXISTS risk.modeling_sessions (
    session_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_modeling_sessions PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    portfolio_node_id BIGINT NOT NULL,
    base_as_of TIMESTAMPTZ NOT NULL,
    base_portfolio_snapshot JSONB NOT NULL,
    base_hash VARCHAR(64) NOT NULL,
    inputs JSONB NOT NULL,
    inputs_hash VARCHAR(64) NOT NULL,
    changes JSONB NOT NULL DEFAULT '[]',
    status VARCHAR(20) NOT NULL DEFAULT 'active',
    version INTEGER NOT NULL DEFAULT 1,
    created_by VARCHAR(100) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    ended_by VARCHAR(100),
    ended_at TIMESTAMPTZ,
    CONSTRAINT fk_modeling_sessions_portfolio_node_id FOREIGN KEY (portfolio_node_id)
    REFERENCES book.portfolio_node (portfolio_node_id),
    CONSTRAINT ck_modeling_sessions_name CHECK (btrim(name) <> ''),
    CONSTRAINT ck_modeling_sessions_base_portfolio_snapshot CHECK (jsonb_typeof(base_portfolio_snapshot) = 'object'),
    CONSTRAINT ck_modeling_sessions_base_hash CHECK (base_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_modeling_sessions_inputs CHECK (jsonb_typeof(inputs) = 'object'),
    CONSTRAINT ck_modeling_sessions_inputs_hash CHECK (inputs_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_modeling_sessions_changes CHECK (jsonb_typeof(changes) = 'array'),
    CONSTRAINT ck_modeling_sessions_status CHECK (status IN ('active', 'completed', 'cancelled')),
    CONSTRAINT ck_modeling_sessions_version CHECK (version > 0),
    CONSTRAINT ck_modeling_sessions_created_by CHECK (btrim(created_by) <> ''),
    CONSTRAINT ck_modeling_sessions_ended CHECK (
        (status = 'active') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_by IS NULL)
    )
);

CREATE INDEX IF NOT EXISTS ix_modeling_sessions_portfolio_node_id ON risk.modeling_sessions (portfolio_node_id);
CREATE INDEX IF NOT EXISTS ix_modeling_sessions_active ON risk.modeling_sessions (created_by, created_at) WHERE status = 'active';

-- What a session began with stays; what has ended stays whole; each change is the next version.
CREATE OR REPLACE FUNCTION risk.keep_modeling_session() RETURNS TRIGGER
LANGUAGE plpgsql
AS $$
BEGIN
    IF OLD.status <> 'active' THEN
        RAISE EXCEPTION 'modelling session % is %: % is refused', OLD.session_id, OLD.status, TG_OP
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'modelling session % is kept: cancel it', OLD.session_id USING ERRCODE = 'restrict_violation';
    END IF;
    IF (OLD.portfolio_node_id, OLD.base_as_of, OLD.base_portfolio_snapshot, OLD.base_hash, OLD.inputs, OLD.inputs_hash,
        OLD.created_by, OLD.created_at)
        IS DISTINCT FROM (NEW.portfolio_node_id, NEW.base_as_of, NEW.base_portfolio_snapshot, NEW.base_hash, NEW.inputs,
        NEW.inputs_hash, NEW.created_by, NEW.created_at) THEN
        RAISE EXCEPTION 'modelling session %: what it began with stays', OLD.session_id USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'modelling session %: version % does not follow %', OLD.session_id, NEW.version, OLD.version
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER modeling_sessions_keep_their_base BEFORE UPDATE OR DELETE ON risk.modeling_sessions
FOR EACH ROW EXECUTE FUNCTION risk.keep_modeling_session();
CREATE OR REPLACE TRIGGER modeling_sessions_stay BEFORE TRUNCATE ON risk.modeling_sessions
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
ALTER TABLE risk.modeling_sessions ENABLE ALWAYS TRIGGER modeling_sessions_keep_their_base;
ALTER TABLE risk.modeling_sessions ENABLE ALWAYS TRIGGER modeling_sessions_stay;

-- A session as it was: added to, never changed. The hash is of all that was measured.
CREATE TABLE IF NOT EXISTS risk.modeling_session_snapshots (
    snapshot_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_modeling_session_snapshots PRIMARY KEY,
    session_id BIGINT NOT NULL,
    session_version INTEGER NOT NULL,
    name VARCHAR(255) NOT NULL,
    status VARCHAR(20) NOT NULL,
    base_snapshot_date DATE NOT NULL,
    base_as_of TIMESTAMPTZ NOT NULL,
    base_hash VARCHAR(64) NOT NULL,
    inputs_hash VARCHAR(64) NOT NULL,
    modifications JSONB NOT NULL,
    modified_portfolio_snapshot JSONB NOT NULL,
    modified_hash VARCHAR(64) NOT NULL,
    impact_summary JSONB NOT NULL,
    risk_metrics_before JSONB NOT NULL,
    risk_metrics_after JSONB NOT NULL,
    factor_exposures_change JSONB NOT NULL,
    content_hash VARCHAR(64) NOT NULL,
    created_by VARCHAR(100) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT fk_modeling_session_snapshots_session_id FOREIGN KEY (session_id)
    REFERENCES risk.modeling_sessions (session_id),
    CONSTRAINT ck_modeling_session_snapshots_session_version CHECK (session_version > 0),
    CONSTRAINT ck_modeling_session_snapshots_status CHECK (status IN ('active', 'completed', 'cancelled')),
    CONSTRAINT ck_modeling_session_snapshots_base_hash CHECK (base_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_modeling_session_snapshots_inputs_hash CHECK (inputs_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_modeling_session_snapshots_modifications CHECK (jsonb_typeof(modifications) = 'array'),
    CONSTRAINT ck_modeling_session_snapshots_modified_portfolio_snapshot CHECK (
        jsonb_typeof(modified_portfolio_snapshot) = 'object'
    ),
    CONSTRAINT ck_modeling_session_snapshots_modified_hash CHECK (modified_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_modeling_session_snapshots_impact_summary CHECK (jsonb_typeof(impact_summary) = 'object'),
    CONSTRAINT ck_modeling_session_snapshots_risk_metrics_before CHECK (jsonb_typeof(risk_metrics_before) = 'object'),
    CONSTRAINT ck_modeling_session_snapshots_risk_metrics_after CHECK (jsonb_typeof(risk_metrics_after) = 'object'),
    CONSTRAINT ck_modeling_session_snapshots_factor_exposures_change CHECK (jsonb_typeof(factor_exposures_change) = 'array'),
    CONSTRAINT ck_modeling_session_snapshots_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_modeling_session_snapshots_created_by CHECK (btrim(created_by) <> '')
);

CREATE INDEX IF NOT EXISTS ix_modeling_session_snapshots_session_id ON risk.modeling_session_snapshots (session_id);
CREATE OR REPLACE TRIGGER modeling_session_snapshot_rows_stay BEFORE UPDATE OR DELETE ON risk.modeling_session_snapshots
FOR EACH ROW EXECUTE FUNCTION book.refuse_change();
CREATE OR REPLACE TRIGGER modeling_session_snapshots_stay BEFORE TRUNCATE ON risk.modeling_session_snapshots
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
ALTER TABLE risk.modeling_session_snapshots ENABLE ALWAYS TRIGGER modeling_session_snapshot_rows_stay;
ALTER TABLE risk.modeling_session_snapshots ENABLE ALWAYS TRIGGER modeling_session_snapshots_stay;

-- What left the risk lab, by whom, and the SHA-256 of the file; book.export_history is of the book's own files. Added to, never changed.
CREATE TABLE IF NOT EXISTS risk.export_history (
    export_id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_export_history PRIMARY KEY,
    snapshot_id BIGINT NOT NULL,
    export_type VARCHAR(50) NOT NULL,
    export_format VARCHAR(20) NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    file_size_bytes INTEGER NOT NULL,
    content_hash VARCHAR(64) NOT NULL,
    exported_by VARCHAR(100) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT fk_export_history_snapshot_id FOREIGN KEY (snapshot_id)
    REFERENCES risk.modeling_session_snapshots (snapshot_id),
    CONSTRAINT ck_export_history_export_type CHECK (export_type IN ('portfolio', 'trades', 'modeling_session')),
    CONSTRAINT ck_export_history_export_format CHECK (export_format IN ('csv', 'json', 'fix')),
    CONSTRAINT ck_export_history_file_name CHECK (btrim(file_name) <> ''),
    CONSTRAINT ck_export_history_file_size_bytes CHECK (file_size_bytes > 0),
    CONSTRAINT ck_export_history_content_hash CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_export_history_exported_by CHECK (btrim(exported_by) <> '')
);

CREATE INDEX IF NOT EXISTS ix_export_history_snapshot_id ON risk.export_history (snapshot_id);
CREATE OR REPLACE TRIGGER export_rows_stay BEFORE UPDATE OR DELETE ON risk.export_history
FOR EACH ROW EXECUTE FUNCTION book.refuse_change();
CREATE OR REPLACE TRIGGER exports_stay BEFORE TRUNCATE ON risk.export_history
FOR EACH STATEMENT EXECUTE FUNCTION book.refuse_change();
ALTER TABLE risk.export_history ENABLE ALWAYS TRIGGER export_rows_stay;
ALTER TABLE risk.export_history ENABLE ALWAYS TRIGGER exports_stay;
