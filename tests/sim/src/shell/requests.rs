//! What connections ask for, over either protocol, and what comes of the verdict: `ingest::request`, `http::request`,
//! `admit_publisher`, `egress::rtmp::admit`, `http::live_flv`.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use millstream_hub::package::block::Format;
use millstream_hub::viewer::Start;
use millstream_policy::{Action, Client, Denial, Request, Verdict, Why};
use millstream_proto::http::request::{Parsed, parse};
use millstream_proto::http::response;
use millstream_proto::rtmp::{self, Event as RtmpEvent, Refusal};
use millstream_proto::time::Time;

use super::channel::{MirrorState, Side};
use super::conn::{Task, Turn};
use super::ingest::GOODBYE;
use crate::net::Read;
use crate::plan::Role;
use crate::world::{Event, World};

pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(2);
/// The shard's scratch buffer.
const SCRATCH_BYTES: usize = 64 << 10;

/// What an RTMP client has asked for.
pub(crate) type Asked = (Action, rtmp::Request);

impl World {
    /// `ingest::request` or `http::request`, one round of the loop.
    pub(crate) fn request(&mut self, link: usize) -> Turn {
        if self.links[link].conn.rtmp.is_none() {
            return self.http_request(link);
        }
        let conn = &mut self.links[link].conn;
        while let Some(event) = conn.rtmp().poll_event() {
            match event {
                RtmpEvent::PublishRequested(request) => conn.asked = Some((Action::Publish, request)),
                RtmpEvent::PlayRequested(request) => conn.asked = Some((Action::Play, request)),
                _ => {}
            }
        }
        conn.take_output();
        if !conn.out.is_empty() {
            return Turn::On;
        }
        if let Some((action, request)) = conn.asked.take() {
            conn.deadline = None;
            let (id, app) = (Self::id(&request.name), Self::id(&request.app));
            if action == Action::Play && self.shards[self.links[link].conn.shard].draining {
                self.refuse(link, Refusal::Failed, "the server is going down; connect again");
                return Turn::On;
            }
            let client = self.client(link, "rtmp");
            self.ask(
                link,
                Request { action, app, name: id, path: None, params: request.params, client, recheck: false },
            );
            return Turn::On;
        }
        if conn.rtmp().is_closing() {
            self.finish_conn(link, "closed");
            return Turn::On;
        }
        match self.recv(link, SCRATCH_BYTES) {
            Read::Wait => return Turn::Wait,
            Read::Eof => self.finish_conn(link, "peer_closed"),
            Read::Data(bytes) => {
                if let Err(error) = self.links[link].conn.rtmp().handle_input(self.now, &bytes) {
                    self.finish_conn(link, error.label());
                }
            }
        }
        Turn::On
    }

    fn http_request(&mut self, link: usize) -> Turn {
        match self.recv(link, SCRATCH_BYTES) {
            Read::Wait => return Turn::Wait,
            Read::Eof => {
                self.over(link, "peer_closed");
                return Turn::On;
            }
            Read::Data(bytes) => self.links[link].conn.input.extend_from_slice(&bytes),
        }
        let request = match parse(&self.links[link].conn.input).expect("a right request") {
            Parsed::Partial => return Turn::On,
            Parsed::Complete { request, .. } => request,
        };
        self.links[link].conn.deadline = None;
        if self.shards[self.links[link].conn.shard].draining {
            self.http_error(link, 503);
            return Turn::On;
        }
        let client = self.client(link, if request.websocket.is_some() { "ws-flv" } else { "http-flv" });
        let (app, name) = (Self::id("stream"), Self::id(&request.path[0]));
        self.ask(
            link,
            Request { action: Action::Play, app, name, path: None, params: request.query, client, recheck: false },
        );
        Turn::On
    }

    fn client(&self, link: usize, protocol: &'static str) -> Client {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, link as u16));
        let (user_agent, referer) = (String::new(), String::new());
        Client { session: self.links[link].conn.number, address, protocol, user_agent, referer, viewer: None }
    }

    /// An answer other than a stream.
    fn http_error(&mut self, link: usize, status: u16) {
        self.totals.refused += 1;
        let conn = &mut self.links[link].conn;
        conn.out.extend_from_slice(&response::error(status, "not now", false, false, Some(0)));
        (conn.deadline, conn.task) = (Some(self.now + GOODBYE), Task::Goodbye);
        self.wake(link);
    }

    /// What follows the verdict.
    pub(crate) fn verdict(&mut self, link: usize, verdict: Verdict, action: Action) {
        let now = self.now;
        let conn = &mut self.links[link].conn;
        conn.task = Task::Request;
        self.trace.note(now, "verdict", link, u64::from(matches!(verdict, Verdict::Allow(_))));
        match verdict {
            Verdict::Deny(Denial { why, reason, .. }) => {
                if conn.rtmp.is_some() {
                    self.refuse(link, refusal(why), &reason);
                } else {
                    self.http_error(link, if why == Why::Busy { 503 } else { 403 });
                }
            }
            Verdict::Allow(_) => {
                conn.admitted = true;
                let shard = conn.shard;
                let id = Self::id(self.links[link].peer.plan().stream);
                match action {
                    Action::Publish if self.owner(&id) == shard => self.publish(link, &id),
                    Action::Publish => self.hand_over(link, &id),
                    Action::Play => match self.tune_in(shard, &id) {
                        Err(()) => self.not_playable(link, true),
                        Ok(None) => self.not_playable(link, false),
                        Ok(Some(channel)) => {
                            self.channels[channel].viewers += 1;
                            let until = now + SUBSCRIBE_WAIT;
                            self.links[link].conn.task = Task::TuneIn { channel, until };
                            self.at(until, Event::Wake(link));
                            self.wake(link);
                        }
                    },
                }
            }
        }
    }

    fn not_playable(&mut self, link: usize, busy: bool) {
        if self.links[link].conn.rtmp.is_none() {
            return self.http_error(link, if busy { 503 } else { 404 });
        }
        let refusal = if busy { Refusal::Failed } else { Refusal::NotFound };
        self.refuse(link, refusal, "not now");
    }

    /// `Channel::playable`, one round of its loop, and the rest of `tune_in`.
    pub(crate) fn playable(&mut self, link: usize, channel: usize, until: Time) -> Turn {
        let state = match &self.channels[channel].side {
            Side::Owner { .. } => MirrorState::Live,
            Side::Mirror { state, .. } => *state,
        };
        match state {
            MirrorState::Live => {
                let Role::Viewer(plan) = &self.links[link].peer.plan().role else { panic!("an encoder plays") };
                let (format, start) = (plan.format, plan.start);
                let start = if format == Format::Rtmp { Start::Newest } else { start };
                self.begin_play(link, channel, format, start);
            }
            MirrorState::Asked if self.now < until => {
                self.channels[channel].waiters.push(link);
                return Turn::Wait;
            }
            MirrorState::Asked | MirrorState::Unknown => {
                let busy = state == MirrorState::Asked;
                self.stand_up(channel);
                if busy {
                    self.remove(channel);
                }
                self.not_playable(link, busy);
            }
        }
        Turn::On
    }

    /// `Seat::drop`.
    pub(crate) fn stand_up(&mut self, channel: usize) {
        self.channels[channel].viewers -= 1;
        self.channels[channel].idle_since = self.now;
    }
}

/// `ingest::refusal`.
fn refusal(why: Why) -> Refusal {
    match why {
        Why::NotFound => Refusal::NotFound,
        Why::Busy => Refusal::Failed,
        _ => Refusal::Denied,
    }
}
