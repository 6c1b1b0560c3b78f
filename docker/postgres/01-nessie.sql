-- The database `iceberg` of the REST catalog is made by the image itself.
create database nessie;
