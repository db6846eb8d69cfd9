//! The configuration in force as the API shows it: tables and keys as in the file, secrets as how many there are. Before it:
//! [`crate::layers`]; after it: `/api/v1/config`.
use millstream_hub::config::{FlushPolicy, OnUnpublish};
use millstream_proto::network::Network;
use serde_json::{Value, json};

use crate::layers::Layers;
use crate::settings::values::{AuthPreset, Role};

/// The configuration, without secrets.
pub(crate) fn shown(layers: &Layers) -> Value {
    let Layers { config, control, control_names, .. } = layers;
    let time = |time: std::time::Duration| humantime::format_duration(time).to_string();
    let flush = match config.stream.flush {
        FlushPolicy::Low => "low",
        FlushPolicy::Balanced => "balanced",
        FlushPolicy::Dense => "dense",
    };
    let on_unpublish = match config.stream.on_unpublish {
        OnUnpublish::Wait => "wait",
        OnUnpublish::End => "end",
        OnUnpublish::Slate => "slate",
    };
    let auth = match layers.auth {
        AuthPreset::Open => "open",
        AuthPreset::Signed => "signed",
    };
    let networks = |networks: &[Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "node": {
            "role": match layers.role {
                Role::All => "all",
                Role::Node => "node",
                Role::Control => "control",
            },
            "name": layers.node_name,
            "data_dir": layers.data_dir.display().to_string(),
            "shards": config.shards,
            "io": format!("{:?}", config.io).to_ascii_lowercase(),
            "drain": time(config.drain),
        },
        "rtmp": {
            "listen": config.rtmp.to_string(),
            "handshake_timeout": time(config.handshake_timeout),
            "chunk_size": config.chunk_size,
            "proxy_protocol_from": networks(&config.proxy_protocol_from),
            "apps": config.apps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "http": {
            "listen": config.http.to_string(),
            "header_timeout": time(config.header_timeout),
            "proxy_protocol_from": networks(&config.http_proxy_protocol_from),
            "trusted_proxies": networks(&config.trusted_proxies),
            "play_paths": config.play_paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "control": { "listen": control.to_string(), "names": control_names },
        "webhooks": { "allow": networks(&layers.webhooks_allow) },
        "auth": { "preset": auth, "legacy_keys": format!("{} hidden", layers.legacy_keys.len()) },
        "stream": {
            "flush": flush,
            "log_max": format!("{}B", config.stream.log_bytes_max),
            "log_time": time(config.stream.log_time_max),
            "publisher_wait": time(config.stream.publisher_wait),
            "on_unpublish": on_unpublish,
            "slate": config.slates.usual.map(|key| key.to_string()),
            "slate_max": time(config.stream.slate_max),
            "joiner_wait": time(config.stream.joiner_wait),
            "lag_skips": config.stream.lag_skips,
            "lag_window": time(config.stream.lag_window),
            "stall_close": time(config.stream.stall_close),
        },
        "limits": {
            "connections": config.limits.connections,
            "per_address": config.limits.per_address,
            "handshakes": config.limits.handshakes,
            "streams": config.limits.streams,
        },
        // Set, and not in force.
        "warnings": layers.warnings,
    })
}

#[cfg(test)]
mod tests {
    use millstream_proto::secret::Secret;

    use super::*;
    use crate::layers::{Flags, merge};
    use crate::settings::Settings;

    #[test]
    fn secrets_are_counted_and_not_shown() {
        let settings = Settings { legacy_keys: vec![Secret::new("hush"), Secret::new("hush")], ..Settings::default() };
        let shown = shown(&merge(Flags::default(), settings).unwrap());
        assert_eq!(shown["auth"]["legacy_keys"], "2 hidden");
        assert_eq!(shown["stream"]["publisher_wait"], "10s");
        assert!(!shown.to_string().contains("hush"));
    }
}
