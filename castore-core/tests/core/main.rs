//! The vocabulary as those who depend on it meet it.

mod constants;
mod errors;
mod groups;
mod memory;
mod pointers;
mod printed;
mod reading;
mod writing;
