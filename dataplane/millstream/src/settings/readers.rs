//! Readers of values that several tables have: durations, numbers and networks in a range. Before it: [`super::document`]; after it: [`super`] and
//! [`super::steps`].
use std::ops::RangeInclusive;
use std::time::Duration;

use millstream_proto::network::Network;
use toml::de::DeValue;

use super::document::{list, string, whole};
use super::values;

/// Most networks of a list: every connection is looked up in all of them.
const NETWORKS_MAX: usize = 256;

/// A duration in this range, in milliseconds.
pub(crate) fn duration(min_ms: u64, max_ms: u64) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    let range = Duration::from_millis(min_ms)..=Duration::from_millis(max_ms);
    move |value| {
        let text = string(value).map_err(|error| format!("{error}, such as \"10s\" or \"333ms\""))?;
        values::duration(text, &range)
    }
}

/// A whole number in this range, which fits the target type.
pub(crate) fn number<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| T::try_from(whole(value, &range)?).map_err(|_| "this is too large".to_owned())
}

/// Addresses and networks.
pub(crate) fn networks(value: &DeValue<'_>) -> Result<Vec<Network>, String> {
    let networks = list(value, |item| values::network(string(item)?))?;
    if networks.len() > NETWORKS_MAX {
        return Err(format!("there are {} networks; give at most {NETWORKS_MAX}", networks.len()));
    }
    Ok(networks)
}
