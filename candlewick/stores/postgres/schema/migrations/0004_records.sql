-- What is known of candles: what they replaced, why some are not there, where they came from, how far outputs got.

CREATE TABLE candle_revisions (
    id bigserial PRIMARY KEY,
    revised_at timestamptz NOT NULL DEFAULT now(),
    LIKE candles
);
CREATE INDEX idx_candle_revisions_series_time ON candle_revisions (market, symbol, interval, time, id);

CREATE TABLE gap_reasons (
    market text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    interval text COLLATE "C" NOT NULL,
    gap_start timestamptz NOT NULL,
    gap_end timestamptz NOT NULL,
    reason text NOT NULL,
    evidence text NOT NULL DEFAULT '',
    PRIMARY KEY (market, symbol, interval, gap_start),
    CONSTRAINT gap_reasons_order CHECK (gap_end > gap_start)
);

CREATE TABLE provenance (
    key text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE output_positions (
    store_id text COLLATE "C" NOT NULL,
    output text COLLATE "C" NOT NULL,
    position text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (store_id, output)
);

CREATE TABLE series (
    number serial PRIMARY KEY,
    market text COLLATE "C" NOT NULL,
    symbol text COLLATE "C" NOT NULL,
    interval text COLLATE "C" NOT NULL,
    UNIQUE (market, symbol, interval)
);

CREATE TABLE quarantined (
    id bigserial PRIMARY KEY,
    series text NOT NULL,
    rule text NOT NULL,
    source text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    raw bytea NOT NULL
);

CREATE TABLE data_quality_logs (
    id bigserial PRIMARY KEY,
    event_type text NOT NULL,
    gap_start timestamptz,
    gap_end timestamptz,
    candles_missing integer,
    candles_recovered integer,
    source text,
    error_message text,
    resolved boolean NOT NULL DEFAULT false,
    resolved_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    market text COLLATE "C",
    symbol text COLLATE "C",
    interval text COLLATE "C",
    details jsonb,
    CONSTRAINT data_quality_logs_event_type CHECK (
        event_type IN ('gap_detected', 'gap_backfilled', 'duplicate_found', 'error', 'cleanup')
    ),
    CONSTRAINT data_quality_logs_source CHECK (
        source IN ('data_feeder', 'gap_handler', 'websocket', 'rest_api', 'manual', 'system')
    ),
    CONSTRAINT data_quality_logs_gap CHECK (
        event_type NOT IN ('gap_detected', 'gap_backfilled')
        OR (gap_start IS NOT NULL AND gap_end IS NOT NULL AND gap_end > gap_start)
    )
);
-- One gap is told once, whoever reports it.
CREATE UNIQUE INDEX data_quality_logs_gap_key
    ON data_quality_logs (market, symbol, interval, event_type, gap_start, gap_end) NULLS NOT DISTINCT
    WHERE event_type IN ('gap_detected', 'gap_backfilled');
CREATE INDEX idx_data_quality_logs_unresolved ON data_quality_logs (resolved, created_at DESC) WHERE NOT resolved;
CREATE INDEX idx_data_quality_logs_created_at ON data_quality_logs (created_at DESC);
CREATE INDEX idx_data_quality_logs_event_type ON data_quality_logs (event_type, created_at DESC);

CREATE TABLE job_runs (
    job text COLLATE "C" NOT NULL,
    scheduled_for timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    result jsonb,
    error text,
    PRIMARY KEY (job, scheduled_for)
);
