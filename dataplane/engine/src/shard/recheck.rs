//! Asks the policy about a running session once more, when its grant says so. Before it: the shard's slow clock; after it: the session, which
//! goes on or ends.
use std::rc::Rc;

use millstream_policy::Request;

use super::session::Session;
use super::state::Shard;
use crate::close::CloseReason;

/// Asks about a running session. It goes on where nobody can decide, and else as it is decided.
pub(super) async fn recheck(shard: Rc<Shard>, session: Rc<Session>, question: Request) {
    let asked = shard.admission.ask(&shard, question).await;
    // Meanwhile it may have begun something else, for which it was admitted anew.
    if session.ending().is_some() || !session.granted.borrow().is_asked() {
        return;
    }
    match asked {
        Ok(granted) => drop(session.granted.replace(granted)),
        Err(denial) if denial.undecided => session.granted.borrow_mut().ask_again(shard.now()),
        Err(denial) => {
            let reason = denial.reason;
            tracing::info!(parent: &session.span, reason, "the session is not admitted any more");
            session.end_as_asked(CloseReason::Revoked);
        }
    }
}
