//! What becomes of payments whose webhook never came: the real function, its clock moved on. What a run does with whatever
//! a provider answers is tried in `core/sweeps.rs`.

mod operator;
pub mod whole;
