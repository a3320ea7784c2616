//! `castore diff`

use castore_core::BlobIndex;
use castore_objstore::diff::{Difference, Extent};
use serde_json::{Value, json};

use super::Mode;
use crate::failure::Result;
use crate::output;
use crate::size::iec;
use crate::store::{Location, chunks, resolve};

pub(crate) async fn run(mode: Mode, location: &Location, first: &str, second: &str) -> Result<()> {
    let service = location.open()?;
    let index = async |text: &str| -> Result<BlobIndex> {
        let digest = resolve(&service, text).await?;
        chunks(&service, &digest).await
    };
    let (first, second) = (index(first).await?, index(second).await?);
    let difference = tokio::task::spawn_blocking(move || {
        let difference = Difference::between(&first, &second);
        (difference, first, second)
    });
    let (difference, first, second) = difference.await.map_err(anyhow::Error::new)?;
    let Difference { shared, only_first, only_second, .. } = difference;
    if mode.json {
        let extent = |part: Extent| json!({ "chunks": part.chunks, "bytes": part.bytes });
        let blob = |index: &BlobIndex, only: Extent| -> Value {
            let mut value = extent(only);
            value["digest"] = index.digest().to_string().into();
            value["size"] = index.size().into();
            value
        };
        output::json(&json!({
            "shared": extent(shared),
            "first": blob(&first, only_first),
            "second": blob(&second, only_second),
        }));
        return Ok(());
    }
    for (name, part) in
        [("shared", shared), ("only first", only_first), ("only second", only_second)]
    {
        let Extent { chunks, bytes, .. } = part;
        output::line(format_args!("{name:<11}  {bytes} ({}), {chunks} chunks", iec(bytes)));
    }
    Ok(())
}
