//! Estimates the cost of a store, by prices that the caller gives.

use std::str::FromStr;

use castore_core::{Error, ErrorKind};

use super::Usage;

/// The number of objects in the answer to a list request, at S3 and its kin.
const PER_LIST: u64 = 1000;

const GIB: f64 = (1_u64 << 30) as f64;

/// The prices of a provider, in any currency. Prices that are not given are zero.
///
/// This crate contains no prices: they differ by provider, region, class and year.
///
/// ```
/// use castore_objstore::usage::Prices;
///
/// let prices: Prices = "gib-month=0.023,put=0.005,get=0.0004".parse()?;
/// assert_eq!(prices.put, 0.005);
/// # Ok::<(), castore_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Prices {
    /// Storing a GiB (2^30 bytes) for a month.
    pub gib_month: f64,
    /// 1000 requests that store an object.
    pub put: f64,
    /// 1000 requests that fetch an object, or ask whether it exists.
    pub get: f64,
    /// 1000 requests that list objects.
    pub list: f64,
    /// A GiB that leaves the provider's network.
    pub egress_gib: f64,
}

impl Prices {
    /// The names of the prices in a text.
    pub const NAMES: [&str; 5] = ["gib-month", "put", "get", "list", "egress-gib"];

    fn named(&mut self, name: &str) -> Option<&mut f64> {
        match name {
            "gib-month" => Some(&mut self.gib_month),
            "put" => Some(&mut self.put),
            "get" => Some(&mut self.get),
            "list" => Some(&mut self.list),
            "egress-gib" => Some(&mut self.egress_gib),
            _ => None,
        }
    }
}

/// Parses `NAME=PRICE`, or several of them separated by commas.
impl FromStr for Prices {
    type Err = Error;

    fn from_str(text: &str) -> Result<Prices, Error> {
        let wrong = |message| Error::new(ErrorKind::InvalidInput, "read the prices", message);
        let mut prices = Prices::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let Some((name, price)) = part.split_once('=') else {
                return Err(wrong(format!("{part:?} is not NAME=PRICE")));
            };
            let names = Prices::NAMES.join(", ");
            let Some(place) = prices.named(name.trim()) else {
                return Err(wrong(format!("there is no price {:?}, but {names}", name.trim())));
            };
            match price.trim().parse::<f64>() {
                Ok(price) if price.is_finite() && price >= 0.0 => *place = price,
                _ => return Err(wrong(format!("{:?} is not a price", price.trim()))),
            }
        }
        Ok(prices)
    }
}

/// The estimated cost of a store, and its computation.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The cost items, in a fixed order.
    pub lines: Vec<EstimateLine>,
}

/// A cost item: `units` times `price` is `cost`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EstimateLine {
    /// The purpose, such as "store it for a month".
    pub purpose: &'static str,
    /// The unit, such as "GiB-month" or "1000 PUT".
    pub unit: &'static str,
    /// The number of units.
    pub units: f64,
    /// The price of one unit.
    pub price: f64,
}

impl EstimateLine {
    /// The cost of this item.
    pub fn cost(&self) -> f64 {
        self.units * self.price
    }
}

impl Estimate {
    /// The total cost of all items with this purpose.
    pub fn cost(&self, purpose: &str) -> f64 {
        self.lines.iter().filter(|line| line.purpose == purpose).map(EstimateLine::cost).sum()
    }
}

impl Usage {
    /// Estimates the cost of storing all objects for a month, of having written them once (asking
    /// for each chunk, storing each object), of reading every blob once, and of listing all objects
    /// once.
    pub fn estimate(&self, prices: &Prices) -> Estimate {
        let chunks = self.chunks + self.chunks_unreferenced;
        let blobs = self.blobs + self.blobs_unreadable;
        let lists = blobs.div_ceil(PER_LIST).max(1) + chunks.div_ceil(PER_LIST).max(1);
        let thousands = |requests: u64| requests as f64 / 1000.0;
        let gib = |bytes: u64| bytes as f64 / GIB;
        let line = |purpose, unit, units, price| EstimateLine { purpose, unit, units, price };
        Estimate {
            lines: vec![
                line(Self::STORING, "GiB-month", gib(self.bytes_stored()), prices.gib_month),
                line(Self::WRITING, "1000 PUT", thousands(blobs + chunks), prices.put),
                line(Self::WRITING, "1000 HEAD", thousands(chunks), prices.get),
                line(Self::READING, "1000 GET", thousands(self.objects_to_read), prices.get),
                line(Self::READING, "GiB out", gib(self.bytes_to_read), prices.egress_gib),
                line(Self::LISTING, "1000 LIST", thousands(lists), prices.list),
            ],
        }
    }

    /// The purpose of storing all objects for a month, in an [`Estimate`].
    pub const STORING: &'static str = "store it for a month";
    /// The purpose of writing all objects.
    pub const WRITING: &'static str = "write it all";
    /// The purpose of reading every blob.
    pub const READING: &'static str = "read every blob";
    /// The purpose of listing all objects.
    pub const LISTING: &'static str = "list it all";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_names_and_are_no_nonsense() {
        let prices: Prices = "gib-month=1,put=2, get=3,list=4.5,egress-gib=0".parse().unwrap();
        assert_eq!((prices.gib_month, prices.put, prices.get), (1.0, 2.0, 3.0));
        assert_eq!((prices.list, prices.egress_gib), (4.5, 0.0));
        for bad in ["put", "puts=1", "put=", "put=x", "put=-1", "put=NaN", "put=inf"] {
            let error = bad.parse::<Prices>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
        let mut prices = Prices::default();
        assert!(Prices::NAMES.iter().all(|name| prices.named(name).is_some()));
    }

    #[test]
    fn each_price_is_for_what_it_says() {
        let usage = Usage {
            blobs: 1500,
            chunks: 2500,
            chunks_unreferenced: 500,
            chunk_bytes_stored: 3 << 30,
            index_bytes_stored: 1 << 30,
            objects_to_read: 10_000,
            bytes_to_read: 5 << 30,
            ..Usage::default()
        };
        let estimate = |prices: &str| usage.estimate(&prices.parse().unwrap());
        assert_eq!(estimate("gib-month=2").cost(Usage::STORING), 8.0);
        // 4500 objects are stored, and 3000 chunks are asked for.
        assert_eq!(estimate("put=10").cost(Usage::WRITING), 45.0);
        assert_eq!(estimate("get=10").cost(Usage::WRITING), 30.0);
        assert_eq!(estimate("get=10").cost(Usage::READING), 100.0);
        assert_eq!(estimate("egress-gib=3").cost(Usage::READING), 15.0);
        // Two requests for the indexes, three for the chunks.
        assert_eq!(estimate("list=1000").cost(Usage::LISTING), 5.0);
        assert_eq!(estimate("").lines.iter().map(EstimateLine::cost).sum::<f64>(), 0.0);
    }
}
