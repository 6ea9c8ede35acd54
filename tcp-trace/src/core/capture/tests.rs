mod files;
mod inference;
mod model;
mod reading;
mod told;
mod truth;
