-- Flights that have landed, at the moment when they landed: until then nobody knew how late they would be.
-- The views over this file differ in their entity and count flights in windows that end before the prediction.
--
-- landed_at: nobody wrote down the moment of landing in UTC. We have the scheduled departure (UTC), how late it left,
-- the minutes in the air, and the clock at the destination when it reached the gate (arr_time, hhmm). The clock
-- decides, as it includes the time on the ground; it is read as its next occurrence after departure + air time.
with flown as (
    select
        flights.*,
        time_hour + to_minutes(minute + dep_delay + air_time) as earliest,
        timezone(coalesce(airports.tzone, 'America/Puerto_Rico'), earliest) as earliest_there
    from flights
    left join airports on airports.faa = flights.dest  -- knows no airport of Puerto Rico and the Virgin Islands
    where arr_delay is not null
)
select
    origin,
    dest,
    carrier,
    earliest + to_minutes((1440
        + 60 * (arr_time // 100) + arr_time % 100
        - 60 * hour(earliest_there) - minute(earliest_there)) % 1440) as landed_at,
    cast(arr_delay > 15 as integer) as late,
    arr_delay
from flown
