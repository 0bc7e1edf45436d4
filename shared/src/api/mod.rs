//! The HTTP API: reading and validating requests, writing responses.

pub mod metadata;
pub mod payment_view;
pub mod problem;
pub mod request;
pub mod response;
pub mod return_url;
pub mod validation;
