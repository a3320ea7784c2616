//! Tests of the cut points: fixed ones, those of the `fastcdc` crate, and those of a blob that
//! arrives in pieces.

mod data;
mod differential;
mod golden;
mod guarded;
mod oracle;
mod profiles;
mod pushes;
