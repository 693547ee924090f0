-- One row for each scheduled departure. The question is asked two hours before it.
-- Cancelled and diverted flights have no arrival: their label is empty, and they teach nothing.
-- landed_at is explained in landed.sql.
with scheduled as (
    select
        flights.*,
        time_hour + to_minutes(minute) as scheduled_departure,
        scheduled_departure + to_minutes(dep_delay + air_time) as earliest,
        timezone(coalesce(airports.tzone, 'America/Puerto_Rico'), earliest) as earliest_there
    from flights
    left join airports on airports.faa = flights.dest
)
select
    -- which flight
    time_hour,
    carrier,
    flight,
    -- what the caller knows when asking
    origin,
    dest,
    tailnum,
    distance,
    scheduled_departure,
    scheduled_departure - interval 2 hours as prediction_time,
    -- what is known only after landing
    arr_delay,
    earliest + to_minutes((1440
        + 60 * (arr_time // 100) + arr_time % 100
        - 60 * hour(earliest_there) - minute(earliest_there)) % 1440) as landed_at
from scheduled
