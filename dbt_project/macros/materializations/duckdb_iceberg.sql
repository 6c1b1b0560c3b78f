{#-
  DuckDB writes Iceberg tables, and cannot rename them, nor drop and create one in a transaction. dbt-duckdb's own materializations end with a
  rename. These make a table once, and from then on replace its rows, or those of some windows, in one transaction: one Iceberg commit, so that
  readers see the old rows or the new ones. `--full-refresh` drops the table first, which readers do see.
-#}

{% materialization table, adapter='duckdb', supported_languages=['sql'] %}
    {{ return(lakehost__write_rows('true')) }}
{% endmaterialization %}

{% materialization incremental, adapter='duckdb', supported_languages=['sql'] %}
    {%- if config.get('incremental_strategy') != 'by_window' -%}
        {{ exceptions.raise_compiler_error("On DuckDB an incremental model of Iceberg has incremental_strategy='by_window', not "
            ~ config.get('incremental_strategy')) }}
    {%- endif -%}
    {{ return(lakehost__write_rows(in_changed_windows())) }}
{% endmaterialization %}

{#- Puts the model's rows in the place of those that meet a condition. -#}
{% macro lakehost__write_rows(replaced) %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {%- if existing is not none and flags.FULL_REFRESH -%}
        {%- do adapter.drop_relation(existing) -%}
        {%- do adapter.commit() -%}
        {%- set existing = none -%}
    {%- endif -%}
    {%- set names = [] -%}
    {%- if existing is not none -%}
        {%- do lakehost__add_columns(existing, names) -%}
    {%- endif -%}

    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {%- if existing is none -%}
            create table {{ target_relation }} as
            {{ compiled_code }}
        {%- else -%}
            delete from {{ target_relation }} where {{ replaced }};
            insert into {{ target_relation }} ({{ names | join(', ') }})
            select {{ names | join(', ') }} from (
            {{ compiled_code }}
            )
        {%- endif -%}
    {%- endcall %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmacro %}

{#- Adds the model's new columns to the table. `names` gets all columns of the model, quoted. -#}
{% macro lakehost__add_columns(existing, names) %}
    {%- set types = {} -%}
    {%- for row in run_query('describe select * from ' ~ existing).rows -%}
        {%- do types.update({row[0]: row[1]}) -%}
    {%- endfor -%}
    {%- set wanted = run_query('describe ' ~ compiled_code) -%}
    {%- for row in wanted.rows -%}
        {%- set name, type = row[0], row[1] -%}
        {%- do names.append(adapter.quote(name)) -%}
        {%- if name not in types -%}
            {%- do run_query('alter table ' ~ existing ~ ' add column ' ~ adapter.quote(name) ~ ' ' ~ type) -%}
            {%- do adapter.commit() -%}
        {%- elif types[name] != type -%}
            {{ exceptions.raise_compiler_error("Column " ~ name ~ " of " ~ existing ~ " is " ~ types[name] ~ ", and the model gives " ~ type
                ~ ": build it anew with --full-refresh, or cast it") }}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}

{#- `drop … cascade`, which dbt-duckdb says otherwise, is not for tables of Iceberg. -#}
{% macro duckdb__drop_relation(relation) -%}
    {%- call statement('drop_relation', auto_begin=False) -%}
        drop {{ relation.type }} if exists {{ relation }}
    {%- endcall -%}
{%- endmacro %}
