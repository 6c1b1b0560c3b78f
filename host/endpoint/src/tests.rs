//! The protocol, request by request, over real sockets and a real catalog file.

mod commits;
mod doors;
mod names;
mod support;
mod tables;
