select
    pickup_date,
    pickup_hour,
    cast(sum(trips) as bigint) as trips,
    cast(sum(total_amount) as decimal(18, 2)) as revenue,
    {{ mean('sum(total_amount)', 'sum(trips)') }} as average_revenue,
    {{ mean('sum(distance_miles)', 'sum(trips)') }} as average_distance_miles
from {{ ref('int_hourly_trips') }}
group by pickup_date, pickup_hour
