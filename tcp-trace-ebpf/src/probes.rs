//! The hooks, one family per file.

mod state;
