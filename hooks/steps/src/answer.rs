//! What a hook answered, as a step of the chain. Before it: a hook's `authorize` or `resume`, whose answer the host has checked for size; after
//! it: [`super::step`].
use std::time::Duration;

use millstream_hooks::wit::auth;
use millstream_policy::{Action, Denial, Grant, Held, Request, Step, Why};
use millstream_proto::id::Id;

use crate::slots::{Holder, Slots};

/// Bytes of an address that a client is sent to.
const LOCATION_BYTES_MAX: usize = 2_048;

/// Nobody is told to come back later than this.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What becomes of the places that a grant takes.
#[derive(Clone, Copy, Debug)]
pub enum Places<'a> {
    /// They are taken.
    Take(&'a Slots),
    /// It is only looked whether there are any.
    Look(&'a Slots),
}

/// What became of an answer.
#[derive(Debug)]
pub enum Answer {
    /// A step of the chain.
    Step(Step),
    /// An upstream is to be asked first.
    Ask(auth::Fetch),
}

/// The step that an answer means. An error says what is wrong with the answer.
pub fn read(answer: auth::Step, request: &Request, (hook, slots): (&str, Places<'_>)) -> Result<Answer, String> {
    Ok(Answer::Step(match answer {
        auth::Step::Next => Step::Abstain,
        auth::Step::Ask(fetch) => return Ok(Answer::Ask(fetch)),
        auth::Step::Deny(denial) => Step::Deny(read_denial(denial)),
        auth::Step::Redirect(location) => Step::Deny(elsewhere(location)?),
        auth::Step::Allow(grant) => allow(grant, request, (hook, slots))?,
    }))
}

fn allow(grant: auth::Grant, request: &Request, (hook, taken): (&str, Places<'_>)) -> Result<Step, String> {
    let after = |ms: u32| (ms > 0).then(|| Duration::from_millis(ms.into()));
    let mut granted = Grant::default();
    (granted.valid_for, granted.recheck_after) = (after(grant.valid_ms), after(grant.recheck_ms));
    if let Some(name) = grant.rename.filter(|_| request.action == Action::Publish) {
        let name = Id::new(&name).map_err(|error| format!("it renames the stream to what is no name: {error}"))?;
        granted.rename = (name != request.name).then_some(name);
    }
    granted.record = grant.recording.filter(|_| request.action == Action::Publish);
    if !grant.labels.is_empty() {
        let pairs = grant.labels.into_iter().map(|pair| (printable(&pair.name), printable(&pair.value)));
        granted.labels = Some(pairs.collect());
    }
    // Who only looks whether a stream is on air takes no place.
    if grant.slots.is_empty() || request.client.protocol == "http" {
        return Ok(Step::Allow(granted));
    }
    let holder = Holder::of(&request.client);
    let mut places = Vec::with_capacity(grant.slots.len());
    for slot in grant.slots {
        let is_free = match taken {
            Places::Look(slots) => slots.has_room(hook, &slot.key, slot.max, holder),
            Places::Take(slots) => {
                let place = slots.take(hook, &slot.key, slot.max, holder);
                let is_free = place.is_some();
                places.extend(place);
                is_free
            }
        };
        if !is_free {
            let reason = format!("all {} places are taken; try again when one is free", slot.max);
            return Ok(Denial::step(Why::Busy, reason));
        }
    }
    granted.held = (!places.is_empty()).then(|| Held::new(places));
    Ok(Step::Allow(granted))
}

fn read_denial(denial: auth::Denial) -> Denial {
    let auth::Denial { why, reason, retry_ms } = denial;
    let class = match why.as_str() {
        "unauthenticated" => Why::Unauthenticated,
        "not-found" => Why::NotFound,
        "busy" => Why::Busy,
        "payment" => Why::Payment,
        "geo" => Why::Region,
        _ => Why::Forbidden,
    };
    // A word of the hook's own is for whoever reads the log.
    let reason = match (why.as_str(), reason.is_empty()) {
        (_, false) => reason,
        ("" | "forbidden", true) => "this is not allowed".to_owned(),
        (word, true) => word.to_owned(),
    };
    let mut denial = Denial::new(class, printable(&reason));
    denial.retry_after = retry_ms.map(|ms| Duration::from_millis(ms.into()).min(RETRY_AFTER_MAX));
    denial
}

fn elsewhere(location: String) -> Result<Denial, String> {
    let is_url = ["http://", "https://"].iter().any(|scheme| location.starts_with(scheme));
    if !is_url || location.len() > LOCATION_BYTES_MAX || !location.bytes().all(|byte| byte.is_ascii_graphic()) {
        let advice = "give an absolute http or https URL of printable ASCII";
        return Err(format!("it redirects to what is no URL; {advice}, at most {LOCATION_BYTES_MAX} bytes"));
    }
    let mut denial = Denial::new(Why::Forbidden, "this stream is to be played elsewhere");
    denial.location = Some(location);
    Ok(denial)
}

/// Text of a guest, for logs and clients.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
