//! The cut points: fixed ones, against the `fastcdc` crate, and however a blob arrives.

mod data;
mod golden;
mod oracle;
mod pushes;
