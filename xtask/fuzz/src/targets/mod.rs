//! The targets by name.

mod chunk;
mod cut;
mod index;
mod seeks;

use std::sync::{Arc, LazyLock};

use castore_core::Digest;
use castore_objstore::ObjectStoreBlobService;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};

/// A fuzz target.
#[derive(Debug)]
#[non_exhaustive]
pub struct Target {
    /// The name, as on the command line and in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Checks one input. Panics where castore breaks a promise.
    pub check: fn(&[u8]),
    /// Directories of real inputs, relative to the root of the repository.
    pub seeds: &'static [&'static str],
    /// The longest random input, in bytes.
    pub longest: usize,
}

/// All targets.
pub static TARGETS: [Target; 4] = [
    Target { name: "cut", check: cut::check_recipe, seeds: &[], longest: 200 },
    Target {
        name: "index",
        check: index::check,
        seeds: &["castore-proto/tests/golden"],
        longest: 400,
    },
    Target {
        name: "chunk",
        check: chunk::check,
        seeds: &[
            "castore-objstore/tests/fixtures/later/chunks",
            "castore-objstore/tests/fixtures/original/chunks",
        ],
        longest: 2000,
    },
    Target { name: "seeks", check: seeks::check, seeds: &[], longest: 120 },
];

/// A target that fails, to show that a failure is reported: it panics or takes memory.
pub static CANARY: Target = Target { name: "canary", check: canary, seeds: &[], longest: 100 };

fn canary(input: &[u8]) {
    match input.first() {
        Some(0..=9) if input.len() > 20 => panic!("the canary is dead"),
        Some(10..=19) if input.len() > 20 => drop(std::hint::black_box(vec![1_u8; 1 << 31])),
        _ => {}
    }
}

/// A service over memory whose store holds one object, in the place of the chunk (`chunks`) or of
/// the index (`blobs`) of this digest.
fn service_with(kind: &str, digest: &Digest, object: Vec<u8>) -> ObjectStoreBlobService {
    let store = InMemory::new();
    let key = Path::from(format!("{kind}/b3/{digest:.4}/{digest}"));
    runtime().block_on(store.put(&key, object.into())).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    ObjectStoreBlobService::builder(store).build().unwrap()
}

/// The runtime of all inputs: one thread, as the contract requires no more.
fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());
    &RUNTIME
}
