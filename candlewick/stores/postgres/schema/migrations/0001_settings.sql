-- What the rest of the schema goes by. Keys are compared byte by byte (collation "C"), so that every server sorts alike.

CREATE TABLE schema_settings (
    key text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

CREATE FUNCTION default_market() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((SELECT value FROM schema_settings WHERE key = 'market'), 'spot');

CREATE FUNCTION default_symbol() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((SELECT value FROM schema_settings WHERE key = 'symbol'), 'BTCUSDT');

CREATE FUNCTION schema_setting(name text) RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT value::integer FROM schema_settings WHERE key = name);

-- Months are those of the calendar in UTC, whatever the session's time zone; 0 months keeps everything.
CREATE FUNCTION months_before(moment timestamptz, months integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN months > 0 THEN (moment AT TIME ZONE 'UTC' - make_interval(months => months)) AT TIME ZONE 'UTC' END;

CREATE FUNCTION candle_interval(code text) RETURNS interval LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (left(code, -1) || CASE right(code, 1)
    WHEN 's' THEN ' seconds' WHEN 'm' THEN ' minutes' WHEN 'h' THEN ' hours' WHEN 'd' THEN ' days' WHEN 'w' THEN ' weeks'
    WHEN 'M' THEN ' months' END)::interval;
