//! What both listeners share: API keys, problem bodies, and the loop that serves connections.
//!
//! Nothing here knows a route or the engine. The submitters' listener (`intake`) and the
//! operators' listener (`admin`) build an `axum::Router` each and hand it to [`server::serve`].

pub mod access;
pub mod body;
pub mod ics;
pub mod keyfile;
pub mod problem;
pub mod server;
pub mod sign;
