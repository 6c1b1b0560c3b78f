//! Whole loads on a temporary warehouse.

mod admin;
mod answers;
mod commits;
mod compact;
mod crashes;
mod expire;
mod lost;
mod orphans;
mod races;
mod scale;
mod support;
