-- The marts have neither more nor fewer trips than the staged table, nor other revenue.
with staged as (
    select count(*) as trips, sum(total_amount) as revenue from {{ ref('stg_yellow_trips') }}
),

marts as (
    select 'fct_daily_trips' as mart, sum(trips) as trips, sum(total_amount) as revenue from {{ ref('fct_daily_trips') }}
    union all
    select 'fct_hourly_revenue', sum(trips), sum(revenue) from {{ ref('fct_hourly_revenue') }}
    union all
    select 'fct_trip_distance_stats', sum(trips), null from {{ ref('fct_trip_distance_stats') }}
)

select marts.mart, marts.trips, staged.trips as staged_trips, marts.revenue, staged.revenue as staged_revenue
from marts
cross join staged
where marts.trips is distinct from staged.trips
    or (marts.revenue is not null and marts.revenue is distinct from staged.revenue)
