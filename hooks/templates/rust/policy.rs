//! Gives large streams one smaller rendition.
use self::exports::millstream::hooks::{meta, policy};

wit_bindgen::generate!({ path: "wit", world: "policy-hook" });

struct Hook;

impl policy::Guest for Hook {
    fn select_renditions(source: policy::Source) -> Vec<policy::Rendition> {
        // None: viewers get the stream as it is published.
        if source.height <= 720 {
            return vec![];
        }
        vec![policy::Rendition {
            name: "720p".into(),
            picture: policy::Picture::Encode(policy::VideoEncode {
                codec: "h264".into(),
                width: 0,
                height: 720,
                fps_num: 0,
                fps_den: 1,
                kbps: 2800,
                extra: vec![],
            }),
            sound: policy::Sound::Copy,
            on_demand: true,
            extra: vec![],
        }]
    }
}

impl meta::Guest for Hook {
    fn describe() -> meta::Info {
        meta::Info {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        Ok(())
    }
}

export!(Hook);
