-- The weather at the origin, hour by hour. time_hour is the hour (UTC) in which it was observed.
select
    origin,
    time_hour as observed_at,
    temp,        -- °F
    dewp,        -- °F
    humid,       -- %
    wind_dir,    -- degrees
    wind_speed,  -- mph
    wind_gust,   -- mph, empty when there was none
    precip,      -- inches
    pressure,    -- millibars
    visib        -- miles
from weather
