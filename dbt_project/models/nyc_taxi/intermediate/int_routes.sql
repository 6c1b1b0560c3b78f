{# Sums, sums of squares and extremes by route and month: enough for every statistic of the marts. #}
select
    pickup_location_id,
    dropoff_location_id,
    count(*) as trips,
    cast(sum(trip_distance_miles) as decimal(18, 2)) as distance_miles,
    cast(sum(trip_distance_miles * trip_distance_miles) as decimal(38, 4)) as distance_miles_squared,
    min(trip_distance_miles) as least_distance_miles,
    max(trip_distance_miles) as greatest_distance_miles,
    cast(sum(trip_duration_seconds) as bigint) as duration_seconds,
    min(trip_duration_seconds) as least_duration_seconds,
    max(trip_duration_seconds) as greatest_duration_seconds,
    cast(sum(total_amount) as decimal(18, 2)) as total_amount,
    _lakehost_window
from {{ ref('stg_yellow_trips') }}
where {{ in_changed_windows() }}
group by pickup_location_id, dropoff_location_id, _lakehost_window
