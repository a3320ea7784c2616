//! The cut points: fixed ones, against the `fastcdc` crate, and however a blob arrives.

mod data;
mod differential;
mod golden;
mod guarded;
mod oracle;
mod profiles;
mod pushes;
