-- What models read and write.

CREATE TABLE predictions (
    id bigserial NOT NULL,
    market text COLLATE "C" NOT NULL DEFAULT default_market(),
    symbol text COLLATE "C" NOT NULL DEFAULT default_symbol(),
    model_name text COLLATE "C" NOT NULL,
    prediction_time timestamptz NOT NULL,
    target_time timestamptz NOT NULL,
    horizon integer NOT NULL,
    predicted_close numeric NOT NULL,
    predicted_direction smallint,
    confidence numeric(5, 4),
    actual_close numeric,
    accuracy numeric(5, 4),
    rmse numeric,
    mape numeric,
    created_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    CONSTRAINT predictions_pkey PRIMARY KEY (market, symbol, prediction_time, id),
    CONSTRAINT predictions_target_after_prediction CHECK (target_time > prediction_time),
    CONSTRAINT predictions_horizon CHECK (horizon IN (1, 5, 15, 30, 60, 240, 1440)),
    CONSTRAINT predictions_direction CHECK (predicted_direction IN (-1, 0, 1)),
    CONSTRAINT predictions_confidence CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT predictions_accuracy CHECK (accuracy BETWEEN 0 AND 1)
);
CREATE INDEX idx_predictions_model_horizon_time ON predictions (model_name, horizon, prediction_time DESC);
CREATE INDEX idx_predictions_target_time ON predictions (target_time);
CREATE INDEX idx_predictions_pending_accuracy ON predictions (target_time) WHERE actual_close IS NULL;

CREATE TABLE ensemble_models (
    id bigserial PRIMARY KEY,
    market text COLLATE "C" NOT NULL DEFAULT default_market(),
    symbol text COLLATE "C" NOT NULL DEFAULT default_symbol(),
    ensemble_name text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    models text[] NOT NULL,
    weights numeric[] NOT NULL,
    accuracy_1m numeric(5, 4) CHECK (accuracy_1m BETWEEN 0 AND 1),
    accuracy_5m numeric(5, 4) CHECK (accuracy_5m BETWEEN 0 AND 1),
    accuracy_15m numeric(5, 4) CHECK (accuracy_15m BETWEEN 0 AND 1),
    accuracy_1h numeric(5, 4) CHECK (accuracy_1h BETWEEN 0 AND 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    is_active boolean NOT NULL DEFAULT false,
    CONSTRAINT ensemble_models_name_version UNIQUE (market, symbol, ensemble_name, version),
    CONSTRAINT ensemble_models_weights CHECK (cardinality(models) = cardinality(weights))
);
-- One active ensemble an instrument, whoever writes at the same time.
CREATE UNIQUE INDEX idx_ensemble_models_active ON ensemble_models (market, symbol) WHERE is_active;
CREATE INDEX idx_ensemble_models_name_version ON ensemble_models (ensemble_name, version DESC);

CREATE FUNCTION update_ensemble_timestamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER ensemble_models_updated_at BEFORE UPDATE ON ensemble_models
    FOR EACH ROW EXECUTE FUNCTION update_ensemble_timestamp();

-- Who activates one waits for whoever activates another at the same time; the later one stays.
CREATE FUNCTION ensure_single_active_ensemble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('candlewick ensemble ' || NEW.market || ' ' || NEW.symbol, 0));
    UPDATE ensemble_models SET is_active = false
    WHERE market = NEW.market AND symbol = NEW.symbol AND is_active AND id <> NEW.id;
    RETURN NEW;
END $$;
CREATE TRIGGER ensemble_models_single_active BEFORE INSERT OR UPDATE OF is_active, market, symbol ON ensemble_models
    FOR EACH ROW WHEN (NEW.is_active) EXECUTE FUNCTION ensure_single_active_ensemble();

-- Features of every series; the view feature_cache is the default one's.
CREATE TABLE features (
    market text COLLATE "C" NOT NULL DEFAULT default_market(),
    symbol text COLLATE "C" NOT NULL DEFAULT default_symbol(),
    time timestamptz NOT NULL,
    features_json jsonb NOT NULL,
    version text NOT NULL DEFAULT '1',
    is_valid boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feature_cache_pkey PRIMARY KEY (market, symbol, time)
);
CREATE INDEX idx_feature_cache_invalid ON features (time DESC) WHERE NOT is_valid;
CREATE INDEX idx_feature_cache_json ON features USING gin (features_json jsonb_path_ops);

CREATE TABLE volume_profiles (
    market text COLLATE "C" NOT NULL DEFAULT default_market(),
    symbol varchar(20) COLLATE "C" NOT NULL DEFAULT default_symbol(),
    date date NOT NULL,
    total_volume double precision NOT NULL,
    vwap double precision NOT NULL,
    poc double precision NOT NULL,
    value_area_high double precision NOT NULL,
    value_area_low double precision NOT NULL,
    value_area_volume double precision NOT NULL,
    value_area_percentage double precision NOT NULL,
    price_increment double precision NOT NULL,
    min_price double precision NOT NULL,
    max_price double precision NOT NULL,
    candle_count integer NOT NULL,
    last_updated bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT volume_profiles_pkey PRIMARY KEY (market, symbol, date)
);
CREATE INDEX idx_volume_profiles_date ON volume_profiles (date);
CREATE INDEX idx_volume_profiles_symbol ON volume_profiles (symbol);
CREATE INDEX idx_volume_profiles_symbol_date ON volume_profiles (symbol, date);
CREATE INDEX idx_volume_profiles_vwap ON volume_profiles (vwap);
CREATE INDEX idx_volume_profiles_poc ON volume_profiles (poc);
CREATE INDEX idx_volume_profiles_symbol_vwap ON volume_profiles (symbol, vwap);
CREATE INDEX idx_volume_profiles_symbol_value_area ON volume_profiles (symbol, value_area_high, value_area_low);

CREATE FUNCTION update_volume_profile_timestamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER volume_profiles_updated_at BEFORE UPDATE ON volume_profiles
    FOR EACH ROW EXECUTE FUNCTION update_volume_profile_timestamp();
