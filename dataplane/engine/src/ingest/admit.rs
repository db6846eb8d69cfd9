//! A publisher from its request to the shard that owns its stream: admitted, slowed where it comes too often, and handed over. Before it: [`super`], which reads
//! the request; after it: [`super::publish`], here or there.
use std::rc::Rc;

use millstream_policy::Action;
use millstream_proto::id::{Id, RenditionName};
use millstream_proto::rtmp::{self, Refusal};

use super::connection::{Connection, PROTOCOL, Rejection, Turn, turn_away};
use super::publish::publish;
use super::question::{needs_tls, question, refusal};
use crate::close::CloseReason;
use crate::io::{Socket, sleep_until};
use crate::renditions::JOB_PARAM;
use crate::shard::budget::Turn as Wait;
use crate::shard::events::Refused;
use crate::shard::mailbox::{Handoff, Mail};
use crate::shard::session::Session;
use crate::shard::state::Shard;

pub(super) async fn admit_publisher(shard: &Rc<Shard>, connection: Connection, request: rtmp::Request) -> Turn {
    // Admission has its own limit of time.
    connection.session.set_deadline(None);
    if let Some(id) = rendition_of_job(shard, &request) {
        // Whoever watches the rendition was admitted, and so was its source.
        return publish_here_or_there(shard, connection, id, request.flash_ver).await;
    }
    let question = match question(shard, &connection.session, Action::Publish, request) {
        Ok(question) => question,
        Err(rejection) => return connection.reject(shard, Action::Publish, rejection),
    };
    let (mut id, encoder) = (question.name.clone(), question.client.user_agent.clone());
    pace(shard, &connection.session).await;
    match shard.admission.ask(shard, question).await {
        Ok(granted) => {
            let named = id.clone();
            id = granted.publishes(id);
            if id != named {
                tracing::info!(parent: &connection.session.span, %named, stream = %id, "published under another name");
            }
            if let Some(reason) = needs_tls(shard, &connection.session, &id) {
                let rejection = Rejection::new(CloseReason::NeedsTls, Refusal::Denied, &id, reason);
                return connection.reject(shard, Action::Publish, rejection);
            }
            connection.session.granted.replace(granted);
        }
        Err(denial) => {
            let rejection = Rejection::new(CloseReason::Refused, refusal(denial.why), &id, denial.reason);
            return connection.reject(shard, Action::Publish, rejection);
        }
    }
    publish_here_or_there(shard, connection, id, encoder).await
}

async fn publish_here_or_there(shard: &Rc<Shard>, connection: Connection, id: Id, encoder: String) -> Turn {
    if shard.home(&id) == shard.index {
        publish(shard, connection, &id, encoder).await
    } else {
        hand_over(shard, connection, id, encoder)
    }
}

/// The rendition that a worker publishes: `rtmp://HOST/APPLICATION/STREAM/RENDITION` with its job's token.
fn rendition_of_job(shard: &Shard, request: &rtmp::Request) -> Option<Id> {
    let token = request.params.get(JOB_PARAM)?;
    let mut parts = request.app.split('/').chain(request.name.split('/')).rev();
    let name = RenditionName::new(parts.next()?)?;
    let id = Id::new(parts.next()?).ok()?.of_rendition(&name);
    shard.config.renditions.admits(&id, Some(token)).then_some(id)
}

/// Waits until the connection may publish once more: one that publishes and ends again and again, which costs it nothing else, is slowed.
pub(super) async fn pace(shard: &Shard, session: &Session) {
    let mut publishes = session.publishes.get();
    let Wait { wait, is_news } = publishes.publish(shard.now());
    session.publishes.set(publishes);
    if wait.is_zero() {
        return;
    }
    if is_news {
        let peer = session.peer();
        tracing::warn!(parent: &session.span, %peer, "this connection publishes too often: it is slowed down to once a second");
    }
    shard.stats.publishes_slowed.add(1);
    sleep_until(shard.clock.instant(shard.now() + wait)).await;
}

/// Sends an admitted publisher to the shard that owns its stream.
fn hand_over(shard: &Shard, connection: Connection, id: Id, encoder: String) -> Turn {
    let Connection { session, socket, rtmp } = connection;
    let (peer, number, publishes) = (session.peer(), session.number, session.publishes.get());
    let (granted, secure) = (session.granted.take(), session.is_secure());
    // Nothing on this shard may refer to the socket any more: it has to be the only reference to let go of the descriptor.
    drop(session);
    let count_failed = || shard.stats.closed.add(CloseReason::HandoverFailed.label(), 1);
    let Some(fd) = socket.into_fd() else {
        count_failed();
        return Turn::Gone;
    };
    let owner = shard.home(&id);
    let handoff = Box::new(Handoff { fd, rtmp, peer, number, id, encoder, publishes, granted, secure });
    match shard.put(owner, Mail::Publisher(handoff)) {
        Ok(()) => shard.stats.handovers_total.add(1),
        Err(mail) => {
            count_failed();
            if let Mail::Publisher(handoff) = mail
                && let Ok(socket) = Socket::from_fd(handoff.fd)
            {
                let Handoff { peer, number: session, id, .. } = *handoff;
                let (action, why, stream) = (Action::Publish.as_str(), CloseReason::Busy.label(), id.as_str());
                let reason = "the server is busy; try again in a moment";
                shard.refused(&Refused { action, why, reason, stream, session, peer, protocol: PROTOCOL });
                turn_away(shard, socket, handoff.rtmp, reason);
            }
        }
    }
    Turn::Gone
}
