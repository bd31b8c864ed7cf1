//! What is known only at run time, and changes the plan: which links work, and where clients are.
//!
//! Both are spread by the exchange to all nodes, which so plan alike.

mod claims;
mod states;

pub use claims::Claims;
pub use states::{LinkState, LinkStates};
