#![allow(missing_docs, dead_code)]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice, clippy::unwrap_used)]
mod aws;
mod faults;
mod routes;
mod support;
