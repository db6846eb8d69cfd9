//! Whether a stream is recorded, and by whom else it is followed beside its viewers: by its settings, by hand, and by what its publisher was granted. Before it:
//! the directory and orders of control; after it: the subscribers, which [`super::packaged`] tells of segments.
use std::rc::Rc;

use super::{Owner, Side, StreamHandle};
use crate::directory::{ByHand, Settings};
use crate::shard::context::ShardContext;
use crate::subscribers::Made;

impl Owner {
    /// What is wished of its recording, whatever its settings say.
    pub(super) fn wished(&self) -> Option<ByHand> {
        self.by_hand.or_else(|| self.by_grant.map(|wanted| ByHand { wanted, number: 0 }))
    }
}

impl StreamHandle {
    /// Whether something was done by hand about its recording that counts for this life of it.
    pub(crate) fn is_recorded_by_hand(&self) -> bool {
        matches!(&self.side, Side::Owner { inner, .. } if inner.borrow().by_hand.is_some())
    }

    /// Its settings may have changed: who follows it beside its viewers is asked anew where that makes a difference.
    pub(crate) fn offer_again_where_it_matters(&self, shard: &Rc<ShardContext>, [before, after]: [Settings; 2]) {
        let Side::Owner { inner, .. } = &self.side else { return };
        let by_hand_before = inner.borrow().by_hand;
        // One that was there before this life began does not begin to count now.
        let by_hand = if before.by_hand == after.by_hand { by_hand_before } else { after.by_hand };
        let wished_before = inner.borrow().wished();
        inner.borrow_mut().by_hand = by_hand;
        let wished = inner.borrow().wished();
        self.offer_again(shard, &before.recorded_by(wished_before), &after.recorded_by(wished));
    }

    /// It is recorded, or not, whatever its settings say, until it is over: somebody has said so.
    pub(crate) fn record(&self, wanted: bool, shard: &Rc<ShardContext>) {
        let by_hand = ByHand { wanted, number: 0 };
        self.change_wish(shard, |owner| owner.by_hand = Some(by_hand));
    }

    /// The same as long as this publisher is there, by what it was granted; `None`: nothing was said of it.
    pub(crate) fn record_as_granted(&self, wanted: Option<bool>, shard: &Rc<ShardContext>) {
        self.change_wish(shard, |owner| owner.by_grant = wanted);
    }

    fn change_wish(&self, shard: &Rc<ShardContext>, change: impl FnOnce(&mut Owner)) {
        let Side::Owner { inner, .. } = &self.side else { return };
        let before = inner.borrow().wished();
        change(&mut inner.borrow_mut());
        let after = inner.borrow().wished();
        if self.source.is_none() && before != after {
            let settings = shard.settings_of(&self.id);
            self.offer_again(shard, &settings.clone().recorded_by(before), &settings.recorded_by(after));
        }
    }

    fn offer_again(&self, shard: &Rc<ShardContext>, before: &Settings, after: &Settings) {
        let Side::Owner { inner, notify, .. } = &self.side else { return };
        let all = &shard.config.subscribers;
        let makers = all.that_differ(before, after);
        if makers.is_empty() {
            return;
        }
        let made: Vec<Made> = makers.iter().flat_map(|maker| all.made(*maker, &self.id, after)).collect();
        let mut subscribers = std::mem::take(&mut inner.borrow_mut().subscribers);
        subscribers.retain(|one| !makers.contains(&one.maker));
        subscribers.extend(made);
        inner.borrow_mut().subscribers = subscribers;
        notify.notify();
    }
}
