{#-
  For `dbt docs generate`: DuckDB knows the columns of a table behind a catalog only once it was looked at, so each is looked at first.
-#}
{% macro duckdb__get_catalog_columns_sql(information_schema) -%}
    {%- set tables = run_query("select schema_name, table_name from duckdb_tables() where upper(database_name) = upper('"
        ~ information_schema.database ~ "')") -%}
    {%- for row in tables.rows -%}
        {%- do run_query('describe ' ~ adapter.quote(information_schema.database) ~ '.' ~ adapter.quote(row[0]) ~ '.' ~ adapter.quote(row[1])) -%}
    {%- endfor -%}
    select * from (
        select
            database_name as table_database,
            schema_name as table_schema,
            table_name,
            column_name,
            column_index,
            data_type as column_type,
            comment as column_comment
        from duckdb_columns()
        where upper(database_name) = upper('{{ information_schema.database }}')
    )
{%- endmacro %}
