//! `object_store`'s own tests of a store, on our wrappers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use libtest_mimic::Trial;
use object_store::integration;
use object_store::memory::InMemory;

use crate::unreliable::Unreliable;

type Test = for<'a> fn(&'a Unreliable) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

const TESTS: [(&str, Test); 12] = [
    ("put_get_delete_list", |store| Box::pin(integration::put_get_delete_list(store))),
    ("put_get_attributes", |store| Box::pin(integration::put_get_attributes(store))),
    ("get_opts", |store| Box::pin(integration::get_opts(store))),
    ("put_opts", |store| Box::pin(integration::put_opts(store, true))),
    ("stream_get", |store| Box::pin(integration::stream_get(store))),
    ("list_uses_directories_correctly", |store| {
        Box::pin(integration::list_uses_directories_correctly(store))
    }),
    ("list_with_delimiter", |store| Box::pin(integration::list_with_delimiter(store))),
    ("list_with_offset_exclusivity", |store| {
        Box::pin(integration::list_with_offset_exclusivity(store))
    }),
    ("rename_and_copy", |store| Box::pin(integration::rename_and_copy(store))),
    ("copy_if_not_exists", |store| Box::pin(integration::copy_if_not_exists(store))),
    ("copy_rename_nonexistent_object", |store| {
        Box::pin(integration::copy_rename_nonexistent_object(store))
    }),
    ("multipart_out_of_order", |store| Box::pin(integration::multipart_out_of_order(store))),
];

/// Each test runs on an unreliable store without a fault.
pub(crate) fn trials() -> Vec<Trial> {
    TESTS
        .into_iter()
        .map(|(name, test)| {
            Trial::test(format!("wrappers::unreliable::{name}"), move || {
                let store = Unreliable::failing(Arc::new(InMemory::new()), Arc::default());
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(test(&store));
                Ok(())
            })
        })
        .collect()
}
