//! Proofs of reachability: held against a stupid simulator, against plans, and against a published set-up with its defects.

#[path = "prove/asserted.rs"]
mod asserted;
#[path = "prove/masquerade.rs"]
mod masquerade;
#[path = "prove/naive.rs"]
mod naive;
#[path = "prove/plans.rs"]
mod plans;
#[path = "prove/published.rs"]
mod published;
mod random;
#[path = "prove/standing.rs"]
mod standing;
#[path = "prove/survive.rs"]
mod survive;
