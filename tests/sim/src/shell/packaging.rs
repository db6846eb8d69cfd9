//! `engine/shard/packaging.rs`, and `Channel::package` with what it calls: playlists on the owner's shard, and their way to others. What
//! is over is not kept here: nobody asks for it.
use millstream_hub::package::change::Change;
use millstream_hub::package::packager::{Packager, Wall};
use millstream_hub::package::window::Window;
use millstream_proto::id::Id;

use super::channel::{Channel, Side};
use super::shard::Mail;
use crate::Sabotage;
use crate::playlist::Playlists;
use crate::world::World;

const CHANGES_WAITING_MAX: usize = 1_024;
/// Unix milliseconds of the walk's time 0.
const UNIX_MS: u64 = 1_700_000_000_000;

/// `Packaging`.
#[derive(Default)]
pub(crate) struct Packaging {
    pub(crate) window: Window,
    /// What players of this window have seen.
    pub(crate) seen: Playlists,
    asked: bool,
    packager: Option<Box<Packager>>,
    outlets: Vec<Outlet>,
}

struct Outlet {
    shard: usize,
    subscription: u64,
    untold: Vec<Change>,
}

impl Packaging {
    pub(crate) fn unsubscribe(&mut self, shard: usize, subscription: u64) {
        self.outlets.retain(|outlet| outlet.shard != shard || outlet.subscription != subscription);
    }

    pub(crate) fn has_untold(&self) -> bool {
        self.outlets.iter().any(|outlet| !outlet.untold.is_empty())
    }
}

impl World {
    pub(super) fn wall(&self) -> Wall {
        Wall { now: self.now, unix_ms: UNIX_MS + self.now.as_micros() / 1_000 }
    }

    /// A player asks some shard for a playlist: `egress::hls::tune_in`.
    pub(crate) fn ask_for_playlist(&mut self, shard: usize, id: &Id) {
        if self.over {
            return;
        }
        if let Ok(Some(channel)) = self.tune_in(shard, id) {
            self.package(channel);
        }
    }

    /// `Channel::package`.
    fn package(&mut self, channel: usize) {
        let wall = self.wall();
        let settings = self.settings.hls;
        let Channel { side, log, packaging, id, shard, .. } = &mut self.channels[channel];
        if let Side::Mirror { subscription, .. } = side {
            if !packaging.asked {
                let mail = Mail::Package { id: id.clone(), from: *shard, subscription: *subscription };
                let (shard, id) = (*shard, id.clone());
                let owner = self.owner(&id);
                let asked = self.mail(shard, owner, mail).is_ok();
                self.channels[channel].packaging.asked = asked;
            }
        } else if packaging.packager.is_none() {
            let first_msn = wall.unix_ms / 1_000;
            let name = format!("{:x}", wall.now.as_micros());
            packaging.packager = Some(Box::new(Packager::new(settings, name, first_msn, log, wall)));
            self.packaged(channel);
            self.nudge(channel);
        }
    }

    /// `Channel::package_for` and `Packaging::subscribe`.
    pub(crate) fn package_for(&mut self, channel: usize, shard: usize, subscription: u64) {
        self.package(channel);
        let packaging = &mut self.channels[channel].packaging;
        let untold = packaging.window.snapshot();
        packaging.outlets.retain(|outlet| outlet.shard != shard);
        packaging.outlets.push(Outlet { shard, subscription, untold });
        self.nudge(channel);
    }

    /// `Channel::packaged`, with `Packaging::advance` and `Packaging::tell`.
    pub(crate) fn packaged(&mut self, channel: usize) -> bool {
        let wall = self.wall();
        let Channel { log, packaging, id, shard, side, .. } = &mut self.channels[channel];
        let (Some(packager), Side::Owner { stream, .. }) = (&mut packaging.packager, side) else { return false };
        let changes = packager.advance(log, stream.pending_tags(), wall);
        if !changes.is_empty() {
            self.totals.parts += changes.iter().filter(|change| matches!(change, Change::Part(..))).count() as u64;
            for outlet in &mut packaging.outlets {
                outlet.untold.extend(changes.iter().cloned());
            }
            apply(packaging, changes);
            for outlet in &mut packaging.outlets {
                if outlet.untold.len() > CHANGES_WAITING_MAX {
                    outlet.untold = packaging.window.snapshot();
                }
            }
        }
        let (id, from) = (id.clone(), *shard);
        let mut outlets = std::mem::take(&mut self.channels[channel].packaging.outlets);
        let mut full = false;
        for outlet in &mut outlets {
            if outlet.untold.is_empty() {
                continue;
            }
            let mut changes = std::mem::take(&mut outlet.untold);
            if self.sabotage == Some(Sabotage::LostPart) && self.random.chance(300) {
                changes.retain(|change| !matches!(change, Change::Part(..)));
            }
            let mail = Mail::Packaged { id: id.clone(), subscription: outlet.subscription, changes };
            if let Err(mail) = self.mail(from, outlet.shard, mail) {
                if let Mail::Packaged { changes, .. } = mail {
                    outlet.untold = changes;
                }
                full = true;
            }
        }
        self.channels[channel].packaging.outlets = outlets;
        full
    }

    /// `Channel::repackaged`.
    pub(crate) fn repackaged(&mut self, channel: usize, changes: Vec<Change>) {
        apply(&mut self.channels[channel].packaging, changes);
    }
}

/// `Packaging::apply`; the playlists are held against what was said before.
fn apply(packaging: &mut Packaging, changes: Vec<Change>) {
    for change in changes {
        if matches!(change, Change::Began(_)) {
            packaging.seen = Playlists::default();
        }
        packaging.window.apply(change);
    }
    packaging.seen.check(&mut packaging.window);
}
