//! Latency is hidden. The tests count round trips, over a store that answers after 20 ms of virtual
//! time.

use tokio::time::Instant;

use crate::support::clock::{LATENCY, round_trips};
use crate::support::data::{MIB, random};
use crate::support::probe::Probe;
use crate::support::service::{put, read, service};

#[tokio::test(start_paused = true)]
async fn round_trips_of_64_mib() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("latency", 64 * MIB);

    let start = Instant::now();
    let digest = put(&service(&probe), &data).await;
    let new = round_trips(start);

    let start = Instant::now();
    put(&service(&probe), &data).await;
    let again = round_trips(start);

    let start = Instant::now();
    assert_eq!(read(&service(&probe), &digest).await, data);
    let reading = round_trips(start);

    println!("round trips: {new} to put new data, {again} to put it again, {reading} to read it");
    assert!(new <= 9, "{new} round trips to put new data");
    assert!(again <= 6, "{again} round trips to put known data");
    assert!(reading <= 6, "{reading} round trips to read");
}

#[tokio::test(start_paused = true)]
async fn round_trips_of_small_blobs() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("latency", 10_000);
    let start = Instant::now();
    let digest = put(&service(&probe), &data).await;
    let new = round_trips(start);

    let start = Instant::now();
    put(&service(&probe), &data).await;
    let again = round_trips(start);

    let start = Instant::now();
    read(&service(&probe), &digest).await;
    assert_eq!((new, again, round_trips(start)), (3, 1, 1));
}
