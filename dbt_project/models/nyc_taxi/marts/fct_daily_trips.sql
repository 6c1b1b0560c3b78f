select
    pickup_date,
    cast(sum(trips) as bigint) as trips,
    cast(sum(passengers) as bigint) as passengers,
    {{ mean('sum(distance_miles)', 'sum(trips)') }} as average_distance_miles,
    {{ mean('sum(duration_seconds)', 'sum(trips)') }} / 60 as average_minutes,
    cast(sum(fare_amount) as decimal(18, 2)) as fare_amount,
    cast(sum(tip_amount) as decimal(18, 2)) as tip_amount,
    cast(sum(total_amount) as decimal(18, 2)) as total_amount,
    {{ mean('sum(total_amount)', 'sum(trips)') }} as revenue_per_trip
from {{ ref('int_hourly_trips') }}
group by pickup_date
