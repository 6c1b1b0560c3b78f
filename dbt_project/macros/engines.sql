{#- Where the SQL of DuckDB and Trino differs. -#}

{#- Whole seconds from one timestamp to another. -#}
{% macro seconds_between(earlier, later) -%}
    {{ return(adapter.dispatch('seconds_between')(earlier, later)) }}
{%- endmacro %}

{% macro default__seconds_between(earlier, later) -%}
    cast(floor(epoch({{ later }}) - epoch({{ earlier }})) as bigint)
{%- endmacro %}

{% macro trino__seconds_between(earlier, later) -%}
    cast(floor(to_unixtime({{ later }}) - to_unixtime({{ earlier }})) as bigint)
{%- endmacro %}

{#- 1 is Monday, 7 is Sunday. -#}
{% macro iso_day_of_week(time) -%}
    {{ return(adapter.dispatch('iso_day_of_week')(time)) }}
{%- endmacro %}

{% macro default__iso_day_of_week(time) -%}
    cast(isodow({{ time }}) as integer)
{%- endmacro %}

{% macro trino__iso_day_of_week(time) -%}
    cast(day_of_week({{ time }}) as integer)
{%- endmacro %}

{#- A mean that is the same on every engine: exact sums, one division. -#}
{% macro mean(sum, count) -%}
    cast({{ sum }} as double) / nullif(cast({{ count }} as double), 0)
{%- endmacro %}
