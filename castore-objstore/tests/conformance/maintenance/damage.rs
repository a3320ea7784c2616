//! Verification and repair.

use std::sync::Arc;

use castore_objstore::repair::RepairOptions;
use castore_objstore::verify::VerifyLevel;

use super::{Store, Stores};
use crate::damaged::{Damaged, Subject};

const SEED: u64 = 20;

async fn filled(store: &Store) -> Damaged {
    Damaged::new(Subject::of_store(store.objects(), store.base_path()), SEED).await
}

pub(super) async fn is_found_and_nothing_else(Stores { main, .. }: Stores) {
    let mut stored = filled(&main).await;
    stored.assert_found(VerifyLevel::Blob).await;
    stored.damage(SEED).await;
    stored.assert_found(VerifyLevel::Index).await;
    stored.assert_found(VerifyLevel::Blob).await;
}

pub(super) async fn is_repaired_from_another_store(Stores { main, .. }: Stores) {
    let mut stored = filled(&main).await;
    stored.damage(SEED).await;
    let twin = Arc::new(stored.twin.clone());
    stored.assert_repaired_from(RepairOptions::default().from_service(twin)).await;
}
