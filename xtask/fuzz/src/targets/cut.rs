//! Every way to cut the blob that a recipe describes, against the `fastcdc` crate: the function
//! that the chunker's own tests call.

#[path = "../../../../castore-chunker/tests/chunker/differential.rs"]
mod differential;

pub(super) use differential::check_recipe;
