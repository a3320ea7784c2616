//! Compares every way to cut a blob with the `fastcdc` crate, by the function that the chunker's
//! own tests call with random recipes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../castore-chunker/tests/chunker/differential.rs"]
mod differential;

fuzz_target!(|recipe: &[u8]| differential::check_recipe(recipe));
