{# Sums that can be added up, so that days and hours that several months touch come out right whichever month was loaded last. #}
select
    pickup_date,
    pickup_hour,
    count(*) as trips,
    cast(sum(coalesce(passenger_count, 0)) as bigint) as passengers,
    cast(sum(trip_distance_miles) as decimal(18, 2)) as distance_miles,
    cast(sum(trip_duration_seconds) as bigint) as duration_seconds,
    cast(sum(fare_amount) as decimal(18, 2)) as fare_amount,
    cast(sum(tip_amount) as decimal(18, 2)) as tip_amount,
    cast(sum(total_amount) as decimal(18, 2)) as total_amount,
    _lakehost_window
from {{ ref('stg_yellow_trips') }}
where {{ in_changed_windows() }}
group by pickup_date, pickup_hour, _lakehost_window
