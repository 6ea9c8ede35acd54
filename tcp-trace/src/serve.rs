//! The side that answers: metrics for Prometheus, JSON and event streams for programs and people.
//!
//! Everything here reads what the tracer hands out and changes nothing. The Unix socket, which only
//! root may open, gets every route; TCP listeners get the metrics and the health checks.

mod accept;
mod answer;
pub(crate) mod event_filter;
mod events;
pub(crate) mod filter;
mod landing;
pub(crate) mod listen;
pub(crate) mod metrics;
mod routes;
mod shutdown;
mod socket_file;
pub(crate) mod span;
pub(crate) mod thresholds;
mod tracer;

pub(crate) use tracer::Tracer;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
