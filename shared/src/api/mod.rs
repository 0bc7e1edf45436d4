//! The HTTP API: how requests are read and validated, and how responses are written.

pub mod metadata;
pub mod payment_view;
pub mod problem;
pub mod request;
pub mod response;
pub mod return_url;
pub mod validation;
