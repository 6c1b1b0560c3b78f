//! Whole loads on a temporary warehouse.

mod admin;
mod answers;
mod commits;
mod crashes;
mod lost;
mod races;
mod refs;
mod scale;
mod support;
