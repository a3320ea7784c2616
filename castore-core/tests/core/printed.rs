//! The debug forms.

use bytes::Bytes;
use castore_core::{BlobService, Digest, MemoryBlobService};
use tokio::io::AsyncReadExt as _;

#[test]
fn the_debug_form_of_a_digest_is_its_hex() {
    let hex = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
    assert_eq!(format!("{:?}", Digest::of(b"Hello World")), format!("Digest({hex})"));
}

#[tokio::test]
async fn the_debug_forms_of_a_reader_and_a_writer_show_their_states() {
    let service = MemoryBlobService::new();
    let mut writer = service.open_write().await.unwrap();
    assert_eq!(format!("{writer:?}"), r#"BlobWriter { state: "open", .. }"#);
    writer.write_bytes(Bytes::from(vec![1; 100_000])).await.unwrap();
    assert_eq!(format!("{writer:?}"), r#"BlobWriter { state: "writing", .. }"#);
    let digest = writer.close().await.unwrap();
    assert_eq!(format!("{writer:?}"), r#"BlobWriter { state: "closed", .. }"#);
    let mut aborted = service.open_write().await.unwrap();
    aborted.abort().await;
    assert_eq!(format!("{aborted:?}"), r#"BlobWriter { state: "failed", .. }"#);

    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    reader.read_exact(&mut [0; 7]).await.unwrap();
    assert_eq!(format!("{reader:?}"), "BlobReader { size: 100000, position: 7, .. }");
}
