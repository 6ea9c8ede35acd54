//! The side that answers: metrics for Prometheus, JSON and event streams for programs and people.
//!
//! Everything here reads what the tracer hands out and changes nothing. The Unix socket, which only
//! root may open, gets every route; TCP listeners get the metrics, the health checks and the
//! runbooks, behind TLS and passwords where a web configuration file says so.

mod accept;
mod answer;
pub(crate) mod event_filter;
mod events;
mod exposition;
pub(crate) mod filter;
mod guard;
mod landing;
pub(crate) mod listen;
pub(crate) mod metrics;
mod origin;
mod routes;
mod runbooks;
mod shutdown;
mod socket_file;
pub(crate) mod span;
mod tally;
pub(crate) mod thresholds;
mod tracer;
mod web;

pub(crate) use tracer::Tracer;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
