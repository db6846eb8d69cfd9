//! The functions that a guest may call. None of them waits, and what they take and give is bounded.
use std::time::{SystemTime, UNIX_EPOCH};

use crate::crypto;
use crate::logs::{Author, Level, MAX_LINES_PER_CALL};
use crate::state::State;
use crate::wit::host::{Host, Level as WitLevel, Part};

/// The most random bytes of one call.
const MAX_RANDOM_BYTES: u32 = 1024;

impl Host for State {
    fn log(&mut self, level: WitLevel, text: String) -> wasmtime::Result<()> {
        self.log_lines += 1;
        let level = match level {
            WitLevel::Debug => Level::Debug,
            WitLevel::Info => Level::Info,
            WitLevel::Warn => Level::Warn,
            WitLevel::Error => Level::Error,
        };
        let settings = &self.settings;
        if self.log_lines > MAX_LINES_PER_CALL {
            settings.logs.drop_line();
        } else {
            let author = Author { name: &settings.name, version: &settings.version, shadow: settings.shadow };
            settings.logs.write(author, level, &text);
        }
        Ok(())
    }

    fn config(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.settings.config.get(&key).cloned())
    }

    fn unix_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.unix_ms.unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
        }))
    }

    fn random(&mut self, len: u32) -> wasmtime::Result<Result<Vec<u8>, String>> {
        if len > MAX_RANDOM_BYTES {
            return Ok(Err(format!(
                "random: {len} bytes were asked for, at most {MAX_RANDOM_BYTES} are given at once"
            )));
        }
        let mut bytes = vec![0; len as usize];
        Ok(getrandom::fill(&mut bytes).map(|()| bytes).map_err(|error| format!("random: {error}")))
    }

    fn digest(&mut self, algorithm: String, parts: Vec<Part>) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(parts.len());
        for part in &parts {
            pieces.push(match part {
                Part::Bytes(bytes) => bytes,
                Part::Secret(name) => match self.secret(name) {
                    Ok(secret) => secret,
                    Err(error) => return Ok(Err(error)),
                },
            });
        }
        Ok(crypto::digest(&algorithm, &pieces))
    }

    fn hmac(&mut self, algorithm: String, secret: String, data: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, String>> {
        Ok(self.secret(&secret).and_then(|secret| crypto::hmac(&algorithm, secret, &data)))
    }

    fn verify(
        &mut self,
        algorithm: String,
        key: String,
        data: Vec<u8>,
        signature: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, String>> {
        let Some(public) = self.settings.keys.get(&key) else {
            return Ok(Err(format!("verify: the binding has no public key {:?}", crate::text::bounded(&key))));
        };
        Ok(public.verify(&algorithm, &data, &signature))
    }

    fn equal(&mut self, a: Vec<u8>, b: Vec<u8>) -> wasmtime::Result<bool> {
        Ok(crypto::equal(&a, &b))
    }

    fn kv_get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.settings.kv.get(&key))
    }

    fn kv_set(&mut self, key: String, value: Vec<u8>, ttl_ms: u32) -> wasmtime::Result<Result<(), String>> {
        Ok(self.settings.kv.set(&key, value, ttl_ms))
    }

    fn kv_add(&mut self, key: String, delta: i64, ttl_ms: u32) -> wasmtime::Result<Result<i64, String>> {
        Ok(self.settings.kv.add(&key, delta, ttl_ms))
    }

    fn count(&mut self, name: String, delta: u64) -> wasmtime::Result<()> {
        self.settings.counters.add(&name, delta);
        Ok(())
    }
}

impl State {
    fn secret(&self, name: &str) -> Result<&[u8], String> {
        let secret = self.settings.secrets.get(name);
        secret
            .map(|secret| secret.expose().as_bytes())
            .ok_or_else(|| format!("the binding has no secret {:?}", crate::text::bounded(name)))
    }
}
