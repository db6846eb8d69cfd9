//! The `[hooks]` table: what hooks may use of this server, by name. A hook never sees a secret or an address, it names them. After it:
//! [`crate::hooks`] gives each binding what it names.
use std::collections::BTreeMap;
use std::path::Path;

use millstream_api::hooks::versions::RollbackWhen;
use millstream_fleet::http::url::Url;
use millstream_policy::signatures::{TRUSTED_KEYS_MAX, TrustedKey, TrustedKeys};
use millstream_proto::secret::Secret;
use toml::de::DeValue;

use super::document::{Findings, Table, list, string};
use super::readers::{networks, number};
use super::values;
use crate::hook_settings::HookSettings;

/// Entries of each list.
const ENTRIES_MAX: usize = 64;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a file that holds a secret or a key.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Room for the record of decisions.
const RECORD_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Takes the table out of the file.
pub(super) fn walk(mut hooks: Table<'_>, f: &mut Findings<'_>) -> HookSettings {
    let record = |text: &str| match text {
        "0" => Ok(0),
        text => values::size(text, &RECORD_BYTES).map_err(|error| format!("{error}; or 0 for none")),
    };
    let set = HookSettings {
        fail: hooks.take(f, "fail", |v| values::fail(string(v)?)).unwrap_or_default(),
        secrets: hooks.take(f, "secrets", |v| named(v, secret)).unwrap_or_default(),
        keys: hooks.take(f, "keys", |v| named(v, |text| text_of(text, "a public key in PEM"))).unwrap_or_default(),
        upstreams: hooks
            .take(f, "upstreams", |v| named(v, |text| text.parse::<Url>().map_err(|e| e.to_string())))
            .unwrap_or_default(),
        upstreams_allow: hooks.take(f, "upstreams_allow", networks).unwrap_or_default(),
        trusted_keys: hooks.take(f, "trusted_keys", trusted_keys).unwrap_or_default(),
        rollback: RollbackWhen {
            percent: hooks.take(f, "rollback_percent", number(0..=100)).unwrap_or(RollbackWhen::default().percent),
            failures: hooks
                .take(f, "rollback_failures", number(1..=1_000_000))
                .unwrap_or(RollbackWhen::default().failures),
        },
        record_bytes: hooks
            .take(f, "record", |v| record(string(v)?))
            .unwrap_or_else(|| HookSettings::default().record_bytes),
    };
    hooks.close(f);
    set
}

/// Files with public keys, or the keys themselves.
fn trusted_keys(value: &DeValue<'_>) -> Result<TrustedKeys, String> {
    let keys = list(value, |item| {
        let text = string(item)?.trim();
        // No path of a key's file looks like the 32 bytes of a key in base64url.
        let is_key = text.len() == 43 && TrustedKey::read(text).is_ok();
        let content = if is_key { text.to_owned() } else { text_of(text, "an Ed25519 public key in PEM")? };
        TrustedKey::read(&content).map_err(|error| error.to_string())
    })?;
    if keys.len() > TRUSTED_KEYS_MAX {
        return Err(format!("there are {} keys; give at most {TRUSTED_KEYS_MAX}", keys.len()));
    }
    Ok(TrustedKeys(keys))
}

/// A list of `name=...`.
fn named<T>(value: &DeValue<'_>, read: impl Fn(&str) -> Result<T, String>) -> Result<BTreeMap<String, T>, String> {
    let mut all = BTreeMap::new();
    // What follows the name may be a secret: no message repeats it.
    let entries = list(value, |item| {
        let (name, rest) = string(item)?.split_once('=').ok_or("this is no \"name=...\"")?;
        let name = name.trim();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
            return Err("the name before = is not one: give 1 to 64 of A-Z, a-z, 0-9, - and _".to_owned());
        }
        Ok((name.to_owned(), read(rest.trim()).map_err(|error| format!("{name}: {error}"))?))
    })?;
    for (name, entry) in entries {
        if all.insert(name.clone(), entry).is_some() {
            return Err(format!("{name} is there twice; keep one of them"));
        }
    }
    if all.len() > ENTRIES_MAX {
        return Err(format!("there are {} entries; give at most {ENTRIES_MAX}", all.len()));
    }
    Ok(all)
}

/// A secret as it is, or `@FILE`: the one line of a file.
fn secret(text: &str) -> Result<Secret, String> {
    let secret = match text.strip_prefix('@') {
        Some(path) => Secret::new(text_of(path, "a secret on one line")?.trim_end_matches(['\r', '\n'])),
        None => Secret::new(text),
    };
    if secret.expose().is_empty() {
        Err("the secret is empty; anyone could sign with it".to_owned())
    } else {
        Ok(secret)
    }
}

fn text_of(path: &str, what: &str) -> Result<String, String> {
    let advice = format!("give the path of a file with {what} that this user may read");
    let path = Path::new(path);
    let is_small = std::fs::metadata(path).map_err(|error| format!("{}: {error}; {advice}", path.display()))?.len()
        <= FILE_BYTES_MAX;
    if !is_small {
        return Err(format!("{}: this has more than {FILE_BYTES_MAX} bytes; {advice}", path.display()));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}; {advice}", path.display()))
}
