//! One certificate for all nodes: it is given to them, they are told what an authority may ask, and it is waited for until they have said that they answer.
//! Before it: whoever orders certificates at control; after it: [`super::certificates`], which polls are answered by.
use std::time::Duration;

use millstream_control_protocol::tls::{CHALLENGES_TOLD_MAX, PendingChallenge};
use millstream_proto::secret::Secret;
use tokio::time::{Instant, timeout_at};

use crate::certificates::{DesiredTls, sha256_of};
use crate::fleet::{Fleet, lock};

/// How often it is looked whether a node that is waited for is away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Fleet {
    fn change_tls(&self, change: impl FnOnce(&mut DesiredTls)) -> u64 {
        let number = lock(&self.0.tls).change(change);
        self.0.changed.notify_waiters();
        number
    }

    /// Has nodes use this from here on: certificate, chain and key in PEM. Returns at once; a node that is away hears of it when it is back.
    pub fn give_certificate(&self, file: Secret) {
        self.change_tls(|tls| {
            tls.told.certificate = sha256_of(&file);
            tls.file = file;
        });
    }

    /// Has nodes answer these challenges, and no others. Says by which number they confirm it; of more than [`CHALLENGES_TOLD_MAX`] the first ones are told.
    pub fn show_challenges(&self, mut challenges: Vec<PendingChallenge>) -> u64 {
        challenges.truncate(CHALLENGES_TOLD_MAX);
        self.change_tls(|tls| tls.told.challenges = challenges)
    }

    /// Waits until every node that is here and takes control's certificate shows what has this number, and says how many do; an error names those that do not
    /// in this time.
    pub async fn shown(&self, number: u64, wait: Duration) -> Result<usize, Vec<String>> {
        let until = Instant::now() + wait;
        loop {
            // Before the look: whatever comes after that ends the wait.
            let caught_up = self.0.caught_up.notified();
            let (shown, lacking) = lock(&self.0.registry).shown(number);
            if lacking.is_empty() {
                return Ok(shown);
            }
            if Instant::now() >= until {
                return Err(lacking);
            }
            // Seen or not: of a node that is away by now nobody tells.
            let _ = timeout_at(until.min(Instant::now() + LOOK_EVERY), caught_up).await;
        }
    }

    /// How many nodes are here that take control's certificate.
    pub fn takers(&self) -> usize {
        let (shown, lacking) = lock(&self.0.registry).shown(0);
        shown + lacking.len()
    }

    /// The file with certificate and key, where this is its SHA-256. For a node alone, and over what nobody can read.
    pub fn certificate(&self, sha256: &str) -> Option<Secret> {
        let tls = lock(&self.0.tls);
        (!tls.file.is_empty() && tls.told.certificate == sha256).then(|| tls.file.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::header::AUTHORIZATION;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use millstream_control_protocol::exchange::{NodeId, Poll};
    use millstream_control_protocol::tls::FleetTls;

    use super::*;
    use crate::certificates::Encrypted;
    use crate::limits::NODE_AWAY_AFTER;
    use crate::{DropEvents, router};

    fn fleet() -> Fleet {
        Fleet::new([], String::new(), DropEvents)
    }

    async fn poll(fleet: &Fleet, name: &str, tls: Option<u64>, wait_ms: u32) -> Option<FleetTls> {
        let node = NodeId { name: name.to_owned(), run: 1 };
        let poll = Poll { node, have: Some(fleet.version()), tls, wait_ms, ..Poll::default() };
        fleet.poll(&poll).await.unwrap().tls
    }

    fn challenge(token: &str) -> PendingChallenge {
        PendingChallenge { token: token.to_owned(), answer: "hush".to_owned(), ..PendingChallenge::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_told_until_it_says_that_it_shows_it_and_others_are_left_alone() {
        let fleet = fleet();
        assert_eq!(poll(&fleet, "a", Some(0), 0).await, None, "nothing was said yet");
        let waiting = tokio::spawn({
            let fleet = fleet.clone();
            async move { poll(&fleet, "a", Some(0), 10_000).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        fleet.give_certificate(Secret::new("key"));
        let told = waiting.await.unwrap().unwrap();
        assert_eq!((told.certificate, told.challenges), (sha256_of(&Secret::new("key")), vec![]));
        let number = fleet.show_challenges(vec![challenge("t")]);
        assert!(number > told.number);
        let told = poll(&fleet, "a", Some(told.number), 0).await.unwrap();
        assert_eq!((told.number, &*told.challenges), (number, &[challenge("t")][..]));
        assert!(!told.certificate.is_empty(), "what is said of challenges takes no certificate away");
        assert_eq!(poll(&fleet, "a", Some(number), 0).await, None);
        // One that starts anew is told all of it; one that takes none is told nothing.
        assert_eq!(poll(&fleet, "a", Some(0), 0).await, Some(told));
        assert_eq!(poll(&fleet, "b", None, 0).await, None);
        assert_eq!(fleet.takers(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_orders_waits_for_all_nodes_that_are_here_and_hears_which_do_not_answer() {
        let fleet = fleet();
        let wait = Duration::from_secs(5);
        let number = fleet.show_challenges(vec![challenge("t")]);
        assert_eq!(fleet.shown(number, wait).await, Ok(0));
        for (name, shows) in [("a", Some(number)), ("b", Some(0)), ("c", None)] {
            poll(&fleet, name, shows, 0).await;
        }
        assert_eq!(fleet.shown(number, wait).await, Err(vec!["b".to_owned()]));
        let waiting = tokio::spawn({
            let fleet = fleet.clone();
            async move { fleet.shown(number, wait).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        poll(&fleet, "b", Some(number), 0).await;
        assert_eq!(waiting.await.unwrap(), Ok(2));
        // One that has gone holds up nobody, once it counts as away.
        let number = fleet.show_challenges(vec![challenge("u")]);
        tokio::time::sleep(NODE_AWAY_AFTER.saturating_sub(Duration::from_secs(3))).await;
        poll(&fleet, "b", Some(number), 0).await;
        let before = Instant::now();
        assert_eq!(fleet.shown(number, 2 * NODE_AWAY_AFTER).await, Ok(1));
        assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    }

    #[test]
    fn no_more_challenges_are_told_than_a_node_takes() {
        let fleet = fleet();
        fleet.show_challenges(vec![challenge("t"); CHALLENGES_TOLD_MAX + 1]);
        assert_eq!(lock(&fleet.0.tls).told.challenges.len(), CHALLENGES_TOLD_MAX);
        let said = format!("{fleet:?} {:?}", *lock(&fleet.0.tls));
        assert!(said.contains("PendingChallenge") && !said.contains("hush"), "{said}");
    }

    /// Status and body of an answer.
    async fn ask(fleet: &Fleet, sha256: &str, token: &str, encrypted: bool) -> (u16, String) {
        let routes = router(fleet.clone(), Arc::new(|token: &Secret| token.matches("right")));
        let request = Request::get(format!("/link/v1/certificates/{sha256}"));
        let mut request = request.header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap();
        if encrypted {
            request.extensions_mut().insert(Encrypted);
        }
        let answer = TowerToHyperService::new(routes).call(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 4_096).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_key_goes_to_nodes_alone_and_where_nobody_can_read_it() {
        let fleet = fleet();
        let (old, file) = (Secret::new("old key"), Secret::new("hush"));
        assert_eq!(ask(&fleet, &sha256_of(&Secret::default()), "right", true).await.0, 404, "there is none yet");
        fleet.give_certificate(old.clone());
        fleet.give_certificate(file.clone());
        let sha256 = sha256_of(&file);
        assert_eq!(ask(&fleet, &sha256, "right", true).await, (200, "hush".to_owned()));
        assert_eq!(ask(&fleet, &sha256, "wrong", true).await.0, 401);
        let (status, said) = ask(&fleet, &sha256, "right", false).await;
        assert!(status == 403 && said.contains("not encrypted") && !said.contains("hush"), "{said}");
        for other in [&*sha256_of(&old), "", "x", "..%2f..%2fmaster-key"] {
            assert_eq!(ask(&fleet, other, "right", true).await.0, 404, "{other}");
        }
        let said = format!("{fleet:?} {:?}", *lock(&fleet.0.tls));
        assert!(said.contains(&sha256) && !said.contains("hush"), "{said}");
    }
}
