//! `castore cat`

use crate::failure::{Failure, Result, USAGE};
use crate::output;
use crate::size;
use crate::store::{Location, open_read, resolve};

pub(crate) async fn run(location: &Location, digest: &str, range: Option<&str>) -> Result<()> {
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    let reader = open_read(&service, &digest).await?;
    let range = match range {
        Some(range) => {
            size::range(range, reader.size()).map_err(|error| Failure::new(USAGE, error))?
        }
        None => 0..reader.size(),
    };
    output::blob(reader.read_range(range)).await
}
