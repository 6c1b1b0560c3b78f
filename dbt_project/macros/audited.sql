{#-
  Tests before publishing: a check of `lakehost.toml` gives the variable `audited`, {"raw.yellow_trips": "<snapshot id>"}, and tests of that
  source read the rows that are about to be published. Without it everything reads the tables as they are. A project of your own needs these
  three macros: lakehost looks at the statement of each test and takes none for a check that reads anything but that snapshot.
-#}

{#- A source at its audited snapshot, if it has one; in brackets, since engines want an alias at different places. -#}
{% macro at_audited_snapshot(relation) -%}
    {%- set versions = var('audited', {}) -%}
    {%- set version = versions.get(relation.schema ~ '.' ~ relation.identifier) if versions and relation.identifier is defined -%}
    {%- if not version -%}
        {{ return(relation) }}
    {%- elif target.type == 'trino' -%}
        {{ return('(select * from ' ~ relation ~ ' for version as of ' ~ version ~ ')') }}
    {%- else -%}
        {{ return('(select * from ' ~ relation ~ ' at (version => ' ~ version ~ '))') }}
    {%- endif -%}
{%- endmacro %}

{#- For statements of one's own. -#}
{% macro source(source_name, table_name) -%}
    {{ return(at_audited_snapshot(builtins.source(source_name, table_name))) }}
{%- endmacro %}

{#- For generic tests, which dbt hands their table through this macro. -#}
{% macro get_where_subquery(relation) -%}
    {%- set read = at_audited_snapshot(relation) -%}
    {%- set where = config.get('where') -%}
    {%- if where -%}
        {{ return('(select * from ' ~ read ~ ' where ' ~ where ~ ') dbt_subquery') }}
    {%- else -%}
        {{ return(read) }}
    {%- endif -%}
{%- endmacro %}
