//! What a server session does for each command, and how it answers.
use super::sides::bare_name;
use super::{Asked, Event, ServerSession, State};
use crate::amf0::Value;
use crate::media::Track;
use crate::rtmp::chunk_write::MESSAGE_STREAM;
use crate::rtmp::command::{self, Command};
use crate::rtmp::enhanced;
use crate::rtmp::error::SessionError;
use crate::rtmp::message::{UserControl, kind};
use crate::rtmp::request::ConnectInfo;

impl ServerSession {
    pub(super) fn obey(&mut self, command: &Command, stream_id: u32) -> Result<(), SessionError> {
        match command.name.as_str() {
            "connect" => self.connect(command)?,
            "createStream" => {
                let stream_id = self.sides.create();
                self.result(command, Value::Number(f64::from(stream_id)));
            }
            "releaseStream" | "_checkbw" => self.result(command, Value::Undefined),
            "getStreamLength" => self.result(command, Value::Number(0.0)),
            "FCPublish" => {
                self.fc_publish = true;
                self.result(command, Value::Undefined);
            }
            "FCSubscribe" => {
                let status = command::status("onFCSubscribe", "status", "NetStream.Play.Start", "Subscribed.");
                self.outbox.command(0, &status);
            }
            "publish" if self.is_side(stream_id) => self.ask_side(command, stream_id)?,
            "publish" => self.ask(Asked::Publish, command, stream_id)?,
            "play" => self.ask(Asked::Play, command, stream_id)?,
            "FCUnpublish" => {
                self.result(command, Value::Undefined);
                let status = command::status("onFCUnpublish", "status", "NetStream.Unpublish.Success", "Unpublished.");
                self.outbox.command(0, &status);
                let named = bare_name(command.text(0));
                if !self.leave_side(|_, name| bare_name(name) == named) && self.sides.may_mean_first(named) {
                    self.end_use();
                }
            }
            "closeStream" if self.leave_side(|id, _| id == stream_id) => {}
            // Encoders clean up after a further stream that was refused, too.
            "closeStream" if self.is_further(stream_id) => {}
            "closeStream" => self.end_use(),
            "deleteStream" if self.leave_side(|id, _| command.args.first() == Some(&Value::Number(f64::from(id)))) => {}
            // Encoders that clean up before they start may name a stream that they never had.
            "deleteStream" if self.is_ours(command.args.first().and_then(Value::as_number)) => self.end_use(),
            "deleteStream" => {}
            "pause" | "pauseRaw" => self.pause(command),
            "receiveAudio" => self.receive(command, Track::Audio),
            "receiveVideo" => self.receive(command, Track::Video),
            // Not answered: ffmpeg takes an `_error` for the end, and nobody waits for an answer to what we do not know.
            _ => self.stats.commands_unknown += 1,
        }
        Ok(())
    }

    fn connect(&mut self, command: &Command) -> Result<(), SessionError> {
        if self.connect.is_some() {
            return Err(SessionError::ConnectedTwice);
        }
        match ConnectInfo::new(&command.object) {
            Ok(info) => {
                self.connect = Some(info);
                let window = self.config.window_ack_bytes;
                self.outbox.number(kind::WINDOW_ACK_SIZE, window);
                // Limit type 2, dynamic.
                self.outbox.control(kind::SET_PEER_BANDWIDTH, &[&window.to_be_bytes()[..], &[2]].concat());
                self.outbox.set_chunk_size(self.config.chunk_size);
                // Repeated as it was asked for: Flash disconnects from a server that changes it. Both wrappers are read.
                let encoding = command.object.get("objectEncoding").and_then(Value::as_number);
                let encoding = if encoding == Some(3.0) { 3.0 } else { 0.0 };
                let enhancements = enhanced::answer(&command.object);
                self.outbox.command(0, &command::connect_result(command.transaction, encoding, enhancements));
                self.follows_reconnect = enhanced::follows_reconnect(&command.object);
            }
            Err(error) => {
                self.outbox.command(0, &command::connect_error(command.transaction, &error.to_string()));
                self.close();
            }
        }
        Ok(())
    }

    fn ask(&mut self, asked: Asked, command: &Command, stream_id: u32) -> Result<(), SessionError> {
        let connect = self.connect.as_ref().ok_or(SessionError::NotConnected)?;
        if !matches!(self.state, State::Idle) || self.outlive_first() {
            // Answered, but what runs goes on.
            self.stats.commands_refused += 1;
            let code = match asked {
                Asked::Publish => "NetStream.Publish.BadName",
                Asked::Play => "NetStream.Play.Failed",
            };
            self.status("error", code, "This connection is in use already.");
            return Ok(());
        }
        let request = connect.request(command.text(0)).map_err(|error| error.to_string());
        self.state = State::Asked(asked);
        // Clients use message streams that createStream has not answered, most often 0 or 2. A publisher is answered on its own. A player
        // gets all on the one that shared messages are made for: those that use another do not look at it (librtmp, ffmpeg, xiu).
        self.stream_id = if asked == Asked::Publish { stream_id.max(MESSAGE_STREAM) } else { MESSAGE_STREAM };
        match (asked, request) {
            (Asked::Publish, Ok(request)) => {
                self.sides.named_first(command.text(0));
                self.events.push_back(Event::PublishRequested(request));
            }
            (Asked::Play, Ok(request)) => self.events.push_back(Event::PlayRequested(request)),
            (_, Err(reason)) => self.refuse(asked, &reason),
        }
        Ok(())
    }

    /// A request that admission need not see.
    fn refuse(&mut self, asked: Asked, reason: &str) {
        self.stats.commands_refused += 1;
        let code = super::refusal_code(asked, super::Refusal::BadName);
        self.status("error", code, reason);
        self.close();
    }

    pub(super) fn answer_publish(&mut self) {
        self.outbox.user_control(UserControl::StreamBegin(self.stream_id));
        if std::mem::take(&mut self.fc_publish) {
            let status = command::status("onFCPublish", "status", "NetStream.Publish.Start", "Published.");
            self.outbox.command(0, &status);
        }
        self.status("status", "NetStream.Publish.Start", "Published.");
    }

    pub(super) fn answer_play(&mut self) {
        self.outbox.user_control(UserControl::StreamBegin(MESSAGE_STREAM));
        self.status("status", "NetStream.Play.Reset", "Reset.");
        self.status("status", "NetStream.Play.Start", "Started.");
        let access = [Value::string("|RtmpSampleAccess"), Value::Boolean(true), Value::Boolean(true)];
        self.outbox.data(MESSAGE_STREAM, &access);
    }

    /// The client has ended what it did; the connection may be used again.
    fn end_use(&mut self) {
        match self.state {
            State::Publishing(_) => {
                self.events.push_back(Event::PublishEnded);
                self.status("status", "NetStream.Unpublish.Success", "Unpublished.");
            }
            State::Playing => {
                self.events.push_back(Event::PlayEnded);
                self.status("status", "NetStream.Play.Stop", "Stopped.");
            }
            State::Idle | State::Asked(_) | State::Closing => return,
        }
        self.state = State::Idle;
        self.free_if_over();
    }

    /// Whether a message stream that a command names is the one in use: the one that createStream answers counts as that, and so does 0.
    fn is_ours(&self, stream_id: Option<f64>) -> bool {
        stream_id.is_none_or(|id| id <= f64::from(MESSAGE_STREAM) || id.total_cmp(&f64::from(self.stream_id)).is_eq())
    }

    fn pause(&mut self, command: &Command) {
        let (State::Playing, Some(paused)) = (&self.state, command.args.first().and_then(Value::as_bool)) else {
            return;
        };
        self.events.push_back(Event::Paused(paused));
        let code = if paused { "NetStream.Pause.Notify" } else { "NetStream.Unpause.Notify" };
        self.status("status", code, "");
    }

    fn receive(&mut self, command: &Command, track: Track) {
        if let (State::Playing, Some(on)) = (&self.state, command.args.first().and_then(Value::as_bool)) {
            self.events.push_back(Event::Receive { track, on });
        }
    }

    fn result(&mut self, command: &Command, value: Value) {
        // Transaction 0 means that no answer is expected (section 7.2.1).
        if command.transaction != 0.0 {
            self.outbox.command(0, &command::result(command.transaction, value));
        }
    }
}
