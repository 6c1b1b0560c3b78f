//! Models above the tables: the dbt run and its results, and statements to Trino.
