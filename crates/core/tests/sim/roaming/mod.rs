//! Clients that roam between entry servers: what becomes of claims.

mod moves;
mod originals;
mod routed;
mod seeds;
