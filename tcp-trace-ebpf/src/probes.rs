//! The hooks, one family per file.

mod births;
mod calls;
mod packets;
mod requests;
mod segments;
mod state;
mod time_wait;
