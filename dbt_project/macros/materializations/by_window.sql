{#-
  The same on Trino: one MERGE takes the rows of the changed windows away and brings the new ones, in one commit. The source has a row of nulls
  that matches every row to go, and the new rows, which match none.
-#}
{% macro get_incremental_by_window_sql(arguments) %}
    {%- set columns = arguments['dest_columns'] | map(attribute='quoted') | list -%}
    merge into {{ arguments['target_relation'] }} as present
    using (
        select marks.is_new, fresh.*
        from (values true, false) as marks(is_new)
        left join {{ arguments['temp_relation'] }} as fresh on marks.is_new
    ) as change
    on not change.is_new and {{ in_changed_windows() | replace('_lakehost_window', 'present._lakehost_window') }}
    when matched then delete
    when not matched and change.is_new and change._lakehost_window is not null then
        insert ({{ columns | join(', ') }})
        values ({% for column in columns %}change.{{ column }}{{ ', ' if not loop.last }}{% endfor %})
{% endmacro %}
