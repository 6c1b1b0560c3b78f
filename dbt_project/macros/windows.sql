{#-
  Models that are loaded by window have the column `_lakehost_window`, as the tables under them. A run that names windows replaces the rows of
  just those windows; one that names none replaces all.
-#}

{#- The windows of this run as SQL dates, or timestamps where they are hours; empty for all. -#}
{% macro changed_windows() -%}
    {%- set dates = [] -%}
    {%- for window in var('windows') -%}
        {%- if 'T' in window -%}
            {%- set hour = modules.datetime.datetime.fromisoformat(window) -%}
            {%- do dates.append("timestamp '" ~ hour.strftime('%Y-%m-%d %H:%M:%S') ~ "'") -%}
        {%- else -%}
            {%- set day = modules.datetime.date.fromisoformat(window) -%}
            {%- do dates.append("date '" ~ day.isoformat() ~ "'") -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(dates) }}
{%- endmacro %}

{#- A condition on `_lakehost_window`; true when all windows are meant. -#}
{% macro in_changed_windows() -%}
    {%- set dates = changed_windows() -%}
    {%- if dates -%} _lakehost_window in ({{ dates | join(', ') }}) {%- else -%} true {%- endif -%}
{%- endmacro %}
