//! The gateway, called in the process, and over TCP by a client that may send anything.

mod conditions;
mod connections;
mod failures;
mod lists;
mod mounting;
mod ranges;
mod reads;
mod support;
mod uploads;
