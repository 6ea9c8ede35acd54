//! The pure heart: bytes and timestamps in, connections and figures out.
//!
//! Nothing here reads a clock, a file, a socket or the environment, and nothing here knows aya, so
//! that a live stream, a start-up snapshot and a recording take one and the same path.

pub mod address;
pub mod capture;
pub mod census;
pub mod cgroup;
pub mod clock;
pub mod close;
pub mod connection;
pub mod coverage;
pub mod deadlines;
pub mod decode;
pub mod diagnosis;
pub mod direction;
pub mod errno;
pub mod event;
pub mod exchange;
pub mod fold;
pub mod half_open;
pub mod histogram;
pub mod listeners;
pub mod merge;
pub mod numbers;
pub mod owner;
pub mod pending;
pub mod population;
pub mod processes;
pub mod query;
pub mod reading;
pub mod reconcile;
pub mod recording;
pub mod relative;
pub mod segment;
pub mod sentence;
pub mod sources;
pub mod stack;
pub mod statistics;
pub mod story;
pub mod table;
pub mod tcp_state;
pub mod time_wait;
pub mod timeline;
