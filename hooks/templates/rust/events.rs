//! Writes what happens to its log, and puts a marker into a stream when its publisher comes.
use self::exports::millstream::hooks::{events, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "wit", world: "event-hook" });

struct Hook;

impl events::Guest for Hook {
    fn on_notices(notices: Vec<events::Notice>) -> Vec<events::Order> {
        let mut orders = vec![];
        for notice in notices {
            let target = &notice.target;
            host::log(host::Level::Info, &format!("{} of {}/{}", notice.kind, target.app, target.name));
            host::count("notices", 1);
            if notice.kind == "publish-start" {
                orders.push(events::Order {
                    kind: "marker".into(),
                    app: target.app.clone(),
                    name: target.name.clone(),
                    detail: vec![events::Pair { name: "said".into(), value: "hello".into() }],
                });
            }
        }
        orders
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
