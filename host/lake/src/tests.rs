//! Whole loads on a temporary warehouse.

mod admin;
mod answers;
mod commits;
mod crashes;
mod evolve;
mod lost;
mod races;
mod readers;
mod refs;
mod rejects;
mod scale;
mod support;
