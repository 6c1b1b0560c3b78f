{{ config(
    on_schema_change='append_new_columns',
    properties=({'partitioning': "ARRAY['_lakehost_window']"} if target.type == 'trino' else none)
) }}

select
    cast("VendorID" as integer) as vendor_id,
    tpep_pickup_datetime as pickup_datetime,
    tpep_dropoff_datetime as dropoff_datetime,
    cast(tpep_pickup_datetime as date) as pickup_date,
    cast(extract(hour from tpep_pickup_datetime) as integer) as pickup_hour,
    {{ iso_day_of_week('tpep_pickup_datetime') }} as pickup_day_of_week,
    {{ seconds_between('tpep_pickup_datetime', 'tpep_dropoff_datetime') }} as trip_duration_seconds,
    cast(passenger_count as integer) as passenger_count,
    cast(trip_distance as decimal(12, 2)) as trip_distance_miles,
    cast("RatecodeID" as integer) as rate_code_id,
    store_and_fwd_flag,
    cast("PULocationID" as integer) as pickup_location_id,
    cast("DOLocationID" as integer) as dropoff_location_id,
    cast(payment_type as integer) as payment_type,
    cast(fare_amount as decimal(12, 2)) as fare_amount,
    cast(extra as decimal(12, 2)) as extra,
    cast(mta_tax as decimal(12, 2)) as mta_tax,
    cast(tip_amount as decimal(12, 2)) as tip_amount,
    cast(tolls_amount as decimal(12, 2)) as tolls_amount,
    cast(improvement_surcharge as decimal(12, 2)) as improvement_surcharge,
    cast(total_amount as decimal(12, 2)) as total_amount,
    cast(congestion_surcharge as decimal(12, 2)) as congestion_surcharge,
    cast("Airport_fee" as decimal(12, 2)) as airport_fee,
    _lakehost_window
from {{ source('raw', 'yellow_trips') }}
where {{ in_changed_windows() }}
    and tpep_pickup_datetime is not null
    and tpep_dropoff_datetime is not null
    and tpep_pickup_datetime < tpep_dropoff_datetime
    and trip_distance > 0
    and fare_amount > 0
