//! `object_store`'s own tests of a store, run on the probe, on which the other tests rely.

use object_store::integration;

use crate::support::probe::Probe;

macro_rules! object_store_tests {
    ($($name:ident($($argument:expr)?);)*) => {
        $(#[tokio::test]
        async fn $name() {
            let probe = Probe::new();
            integration::$name(&probe $(, $argument)?).await;
            assert!(probe.total() > 0, "it was the probe that was asked");
        })*
    };
}

object_store_tests! {
    put_get_delete_list();
    put_get_attributes();
    get_opts();
    put_opts(true);
    stream_get();
    list_uses_directories_correctly();
    list_with_delimiter();
    list_with_offset_exclusivity();
    rename_and_copy();
    copy_if_not_exists();
    copy_rename_nonexistent_object();
    multipart_out_of_order();
    multipart_race_condition(true);
}

#[tokio::test]
async fn get_nonexistent_object() {
    let error = integration::get_nonexistent_object(&Probe::new(), None).await.unwrap_err();
    assert!(matches!(error, object_store::Error::NotFound { .. }), "{error:?}");
}
