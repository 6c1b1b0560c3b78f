with routes as (
    select
        pickup_location_id,
        dropoff_location_id,
        cast(sum(trips) as bigint) as trips,
        sum(distance_miles) as distance_miles,
        sum(distance_miles_squared) as distance_miles_squared,
        min(least_distance_miles) as least_distance_miles,
        max(greatest_distance_miles) as greatest_distance_miles,
        sum(duration_seconds) as duration_seconds,
        min(least_duration_seconds) as least_duration_seconds,
        max(greatest_duration_seconds) as greatest_duration_seconds,
        sum(total_amount) as total_amount
    from {{ ref('int_routes') }}
    group by pickup_location_id, dropoff_location_id
)

select
    routes.pickup_location_id,
    pickup.zone as pickup_zone,
    routes.dropoff_location_id,
    dropoff.zone as dropoff_zone,
    routes.trips,
    {{ mean('routes.distance_miles', 'routes.trips') }} as average_distance_miles,
    routes.least_distance_miles,
    routes.greatest_distance_miles,
    case when routes.trips > 1 then sqrt(greatest(
        (cast(routes.distance_miles_squared as double) - cast(routes.distance_miles as double) * cast(routes.distance_miles as double) / routes.trips)
            / (routes.trips - 1), 0)) end as deviation_distance_miles,
    {{ mean('routes.duration_seconds', 'routes.trips') }} / 60 as average_minutes,
    cast(routes.least_duration_seconds as double) / 60 as least_minutes,
    cast(routes.greatest_duration_seconds as double) / 60 as greatest_minutes,
    {{ mean('routes.total_amount', 'routes.trips') }} as average_revenue
from routes
left join {{ ref('dim_zone') }} as pickup on pickup.location_id = routes.pickup_location_id
left join {{ ref('dim_zone') }} as dropoff on dropoff.location_id = routes.dropoff_location_id
