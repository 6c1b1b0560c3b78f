//! An Iceberg REST catalog over a warehouse of this process, so that any engine attaches to it with nothing else running.
