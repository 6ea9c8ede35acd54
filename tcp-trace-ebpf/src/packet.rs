//! Frames as packet programs see them.

mod copied;
mod direct;
mod linear;
mod received;

pub(crate) use {
    copied::{Copied, ROOM},
    linear::Linear,
    received::Received,
};
