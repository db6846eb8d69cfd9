//! An operator of a hook with three versions and two live bindings: activates, rolls back, moves a single binding, hangs up, and holds what control then names
//! against what was acknowledged.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::control::{Control, Outcome};
use super::random::{Count, Random};

const HOOK: &str = "/api/v1/hooks/gate";
const BINDINGS: &str = "/api/v1/hook-bindings";
const VERSIONS: u64 = 3;
/// Where each is asked.
const POINTS: [&str; 2] = ["play", "publish"];
const LONG: Duration = Duration::from_secs(30);
const ANY: [(&str, &str); 1] = [("If-Match", "*")];

pub(crate) struct Operator {
    control: Control,
    random: Random,
    pub(crate) activations: Count,
    pub(crate) rollbacks: Count,
    /// What the bindings have, by id; `None`: a change whose end nobody saw may have been made.
    known: Option<BTreeMap<String, u64>>,
}

impl Operator {
    /// Its hook is there before anything happens to the world.
    pub(crate) async fn new(control: &Control) -> Self {
        let mut operator = Self {
            control: control.clone(),
            random: control.random.clone(),
            activations: Count::default(),
            rollbacks: Count::default(),
            known: None,
        };
        // Made by a request before whose end was not seen: then it asks for If-Match.
        operator.until("PUT", HOOK, &json!({ "kind": "auth" }), &[201, 428]).await;
        for seed in 1..=VERSIONS as u8 {
            let module: Vec<u8> = b"\0asm\x0d\0\x01\0".iter().copied().chain([seed; 40]).collect();
            while !matches!(operator.control.upload(&format!("{HOOK}/versions"), module.clone()).await, 200 | 201) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        for point in POINTS {
            while !operator.listed().await.iter().any(|binding| binding["point"] == point) {
                let body = json!({ "hook": "gate", "point": point, "mode": "live", "version": 1 });
                operator.control.ask(("POST", BINDINGS), &[], Some(&body), LONG).await;
            }
        }
        operator.known = Some(operator.named().await);
        operator
    }

    async fn until(&self, method: &str, path: &str, body: &Value, wanted: &[u16]) {
        loop {
            match self.control.ask((method, path), &[], Some(body), LONG).await {
                Outcome::Answer(status, _) if wanted.contains(&status) => return,
                Outcome::Answer(500..=599, _) | Outcome::Unknown => {}
                Outcome::Answer(status, body) => panic!("{method} {path}: {status} {body}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn listed(&self) -> Vec<Value> {
        loop {
            match self.control.ask(("GET", BINDINGS), &[], None, LONG).await {
                Outcome::Answer(200, page) => return page["items"].as_array().unwrap().clone(),
                Outcome::Answer(503, _) | Outcome::Unknown => tokio::time::sleep(Duration::from_millis(100)).await,
                Outcome::Answer(status, body) => panic!("{status} {body}"),
            }
        }
    }

    /// The version that control names for each binding.
    pub(crate) async fn named(&self) -> BTreeMap<String, u64> {
        let named = |binding: &Value| {
            (binding["id"].as_str().unwrap().to_owned(), binding["means"]["version"].as_u64().unwrap())
        };
        self.listed().await.iter().map(named).collect()
    }

    /// So many things to do, one after the other.
    pub(crate) async fn work(&mut self, steps: u64) {
        for _ in 0..steps {
            tokio::time::sleep(self.random.context(700)).await;
            if self.known.is_none() {
                // Whoever hung up looks before going on; by then it was made, or will not be.
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.known = Some(self.named().await);
            }
            match self.random.below(10) {
                0..5 => self.activate().await,
                5..8 => self.roll_back().await,
                _ => self.move_one().await,
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.random.percent(30) { self.random.context(120) } else { LONG }
    }

    fn version(&self) -> u64 {
        self.random.below(VERSIONS) + 1
    }

    async fn activate(&mut self) {
        let (version, patience) = (self.version(), self.patience());
        let body = json!({ "version": version });
        let path = format!("{HOOK}/activate");
        let outcome = self.control.ask(("POST", &path), &ANY, Some(&body), patience).await;
        let Some(answer) = self.answered(outcome, &[]) else { return };
        self.activations.one();
        let known = self.known.get_or_insert_default();
        for (id, from) in known.iter().filter(|(_, had)| **had != version) {
            let change = json!({ "binding": id, "from": from, "to": version });
            assert!(answer["changed"].as_array().unwrap().contains(&change), "{change} is not in {answer}");
        }
        for has in known.values_mut() {
            *has = version;
        }
        self.check().await;
    }

    async fn roll_back(&mut self) {
        let (path, patience) = (format!("{HOOK}/rollback"), self.patience());
        // There may be nothing before.
        let outcome = self.control.ask(("POST", &path), &ANY, None, patience).await;
        let Some(answer) = self.answered(outcome, &[409]) else { return };
        self.rollbacks.one();
        let known = self.known.get_or_insert_default();
        for change in answer["changed"].as_array().unwrap() {
            let has = known.get_mut(change["binding"].as_str().unwrap()).unwrap();
            assert_eq!(change["from"].as_u64(), Some(*has), "{answer}");
            *has = change["to"].as_u64().unwrap();
        }
        self.check().await;
    }

    /// A binding alone.
    async fn move_one(&mut self) {
        let all: Vec<String> = self.known.iter().flat_map(BTreeMap::keys).cloned().collect();
        let id = &all[self.random.below(all.len() as u64) as usize];
        let (version, patience) = (self.version(), self.patience());
        let body = json!({ "version": version });
        let outcome = self.control.ask(("PATCH", &format!("{BINDINGS}/{id}")), &ANY, Some(&body), patience).await;
        if self.answered(outcome, &[]).is_some() {
            self.known.get_or_insert_default().insert(id.clone(), version);
            self.check().await;
        }
    }

    /// An answer that says that it was done.
    fn answered(&mut self, outcome: Outcome, refused: &[u16]) -> Option<Value> {
        match outcome {
            Outcome::Answer(200, answer) => return Some(answer),
            // Nothing was changed.
            Outcome::Answer(507, _) => {}
            Outcome::Answer(status, _) if refused.contains(&status) => {}
            Outcome::Answer(status @ 500..=599, body) => {
                assert_ne!(status, 500, "the handler panicked: {body}");
                self.known = None;
            }
            Outcome::Unknown => self.known = None,
            Outcome::Answer(status, body) => panic!("{status} {body}"),
        }
        None
    }

    /// What was acknowledged is what control names.
    async fn check(&self) {
        assert_eq!(Some(self.named().await), self.known);
    }
}
