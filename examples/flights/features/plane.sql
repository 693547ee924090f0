-- What is known about each plane. It doesn't change, so there is no time.
select
    tailnum,
    year as built,
    manufacturer,
    engines,
    seats
from planes
