//! Whole loads on a temporary warehouse.

mod admin;
mod commits;
mod crashes;
mod races;
mod scale;
mod support;
