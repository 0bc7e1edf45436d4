//! x
pub mod clock;
pub mod id;
pub mod json;
pub mod money;
pub mod payment;
pub mod providers;
pub mod signature;
pub mod status;
