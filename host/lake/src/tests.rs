//! Whole loads on a temporary warehouse.

mod admin;
mod answers;
mod commits;
mod compact;
mod crashes;
mod delete;
mod evolve;
mod expire;
mod lost;
mod merge;
mod orphans;
mod races;
mod readers;
mod refs;
mod rejects;
mod scale;
mod support;
