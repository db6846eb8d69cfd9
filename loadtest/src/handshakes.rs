//! TLS handshakes at a planned rate: clients that come, shake hands in full, ask for one thing and go; or that say hello and nothing more, as floods do.
//! It runs beside [`crate::run()`] in a process of its own, which can be given less of the machine than what measures viewers. Before it: the command line; after
//! it: a [`HandshakesReport`].
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use millstream_proto::time::Time;
use serde::Serialize;

use crate::clock::Clock;
use crate::limits::{CONNECTS_PER_TURN_MAX, HANDSHAKES_OPEN_MAX, READ_BYTES};
use crate::net::{Connection, Cpu, Got, Interest, Poll, Ready, raise_descriptor_limit};
use crate::report::Summary;
use crate::run::RunError;
use crate::secure::{Secure, TlsTarget};
use crate::tally::{Times, Troubles};
use crate::target::HttpTarget;

/// Who has not been answered by then is counted as failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long those who only say hello stay after the last has come.
const HOLD: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Handshakes {
    /// Whom to shake hands with, and what to ask for.
    pub target: HttpTarget,
    /// How many come each second, evenly.
    pub per_second: u32,
    /// For how long they come.
    pub duration: Duration,
    /// They say hello, and nothing more.
    pub unfinished: bool,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct HandshakesReport {
    /// Those that were to come by then.
    pub begun: u64,
    /// Full handshakes, no ticket taken, whose client was also answered.
    pub finished: u64,
    /// Of those, a second.
    pub finished_per_second: f64,
    /// Those that the server ended before.
    pub ended_by_server: u64,
    /// Those that were there at the same time.
    pub open_max: usize,
    /// From the beginning to the end.
    pub seconds: f64,
    /// Milliseconds from the connection's begin to the end of the handshake.
    pub handshake_ms: Summary,
    /// Milliseconds that connections began later than planned.
    pub late_ms: Summary,
    /// Share of a core that this took.
    pub harness_core: f64,
    /// What went wrong, and how often.
    pub troubles: BTreeMap<String, u64>,
}

/// One connection.
#[derive(Debug)]
struct Client {
    connection: Connection,
    tls: Secure,
    begun: Time,
    connected: bool,
    asked: bool,
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Waits,
    Shaken,
    Answered,
}

impl Client {
    fn begin(target: &HttpTarget, tls: &TlsTarget, now: Time) -> Result<Self, RunError> {
        let connection = Connection::begin(target.address, None)?;
        Ok(Self { connection, tls: tls.session()?, begun: now, connected: false, asked: false })
    }

    /// Acts on what the poll says: what has been reached, each once.
    fn ready(&mut self, ready: Ready, now: Time, asks: &Asks<'_>, scratch: &mut [u8]) -> Result<Step, String> {
        if !self.connected {
            if !ready.writable && !ready.closed {
                return Ok(Step::Waits);
            }
            self.connection.connected().map_err(|error| format!("cannot connect: {error}"))?;
            self.connected = true;
        }
        self.say(b"")?;
        let mut step = Step::Waits;
        let mut plain = Vec::new();
        loop {
            let count = match self.connection.read(now, scratch) {
                Ok(Got::Nothing) => return Ok(step),
                Ok(Got::End) => return Err(ENDED.to_owned()),
                Ok(Got::Bytes(count, _)) => count,
                Err(error) => return Err(format!("connection lost: {error}")),
            };
            if asks.unfinished {
                continue;
            }
            self.tls.take(&scratch[..count], &mut plain).map_err(|error| format!("TLS: {error}"))?;
            self.say(b"")?;
            if !self.tls.is_handshaking() && !self.asked {
                self.asked = true;
                self.say(asks.request)?;
                step = Step::Shaken;
            }
            if !plain.is_empty() {
                return Ok(Step::Answered);
            }
        }
    }

    fn say(&mut self, plain: &[u8]) -> Result<(), String> {
        let said = self.tls.say(plain);
        self.connection.send(&said).map(drop).map_err(|error| format!("connection lost: {error}"))
    }
}

/// What all of them do.
struct Asks<'a> {
    request: &'a [u8],
    unfinished: bool,
}

/// What a server does that has enough of somebody.
const ENDED: &str = "ended by the server";

/// Carries it out.
pub fn shake_hands(plan: &Handshakes) -> Result<HandshakesReport, RunError> {
    let tls = plan.target.tls.as_ref().ok_or(RunError::NoTarget("handshakes", "--http https://..."))?;
    raise_descriptor_limit()?;
    let (clock, mut poll) = (Clock::start(), Poll::new()?);
    let request = plan.target.request("");
    let asks = Asks { request: &request, unfinished: plan.unfinished };
    let count = (plan.duration.as_secs_f64() * f64::from(plan.per_second)) as u64;
    let gap = Duration::from_secs_f64(1.0 / f64::from(plan.per_second.max(1)));
    let (mut clients, mut free): (Vec<Option<Client>>, BinaryHeap<Reverse<usize>>) = (Vec::new(), BinaryHeap::new());
    let (mut ready, mut scratch) = (Vec::new(), vec![0; READ_BYTES]);
    let (mut begun, mut finished, mut ended, mut open_max) = (0, 0, 0, 0);
    let (mut times, mut late, mut troubles) = (Times::new(), Times::new(), Troubles::default());
    let (start, cpu) = (clock.now(), Cpu::now());
    // Those that were planned and could not come count as begun, too.
    let due = |n: u64| start + Duration::from_secs_f64(gap.as_secs_f64() * n as f64);
    loop {
        let mut now = clock.now();
        for _ in 0..CONNECTS_PER_TURN_MAX {
            if begun == count || due(begun) > now {
                break;
            }
            late.record(now.since(due(begun)));
            begun += 1;
            if free.is_empty() && clients.len() < HANDSHAKES_OPEN_MAX {
                free.push(Reverse(clients.len()));
                clients.push(None);
            }
            let Some(Reverse(place)) = free.pop() else {
                troubles.add("it did not come: as many are open as may be");
                continue;
            };
            let client = match Client::begin(&plan.target, tls, clock.now()) {
                Ok(client) => client,
                Err(error) => {
                    free.push(Reverse(place));
                    troubles.add(format!("it did not come: {error}"));
                    continue;
                }
            };
            // A place is used again when its connection is closed, of which the poll says nothing more.
            poll.add(&client.connection, place as u64, Interest::ReadWrite)?;
            clients[place] = Some(client);
            now = clock.now();
        }
        let open = clients.len() - free.len();
        open_max = open_max.max(open);
        let patience = if plan.unfinished { HOLD } else { PATIENCE };
        if begun == count && (open == 0 || now.since(due(count)) > patience) {
            troubles.add_many("no answer in time", if plan.unfinished { 0 } else { open as u64 });
            break;
        }
        let wake = if begun == count { now + Duration::from_millis(50) } else { due(begun) };
        ready.clear();
        poll.wait(wake.since(now), &mut ready)?;
        let now = clock.now();
        for event in &ready {
            let place = event.token as usize;
            let Some(client) = clients.get_mut(place).and_then(Option::as_mut) else { continue };
            let was_asked = client.asked;
            let step = client.ready(*event, now, &asks, &mut scratch);
            if client.asked && !was_asked {
                times.record(clock.now().since(client.begun));
            }
            match step {
                Ok(Step::Waits | Step::Shaken) => continue,
                Ok(Step::Answered) => finished += 1,
                Err(why) if why == ENDED => ended += 1,
                Err(why) => troubles.add(why),
            }
            clients[place] = None;
            free.push(Reverse(place));
        }
    }
    let seconds = clock.now().since(start).as_secs_f64();
    let spent = Cpu::now().process.saturating_sub(cpu.process).as_secs_f64();
    Ok(HandshakesReport {
        begun,
        finished,
        finished_per_second: finished as f64 / seconds,
        ended_by_server: ended,
        open_max,
        seconds,
        handshake_ms: Summary::of(&times),
        late_ms: Summary::of(&late),
        harness_core: spent / seconds,
        troubles: troubles.counts().clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::secure::tests::server;

    /// Answers each connection by TLS with one line.
    fn serve(listener: &TcpListener) -> io::Result<()> {
        let mut tls = server();
        let (mut socket, _) = listener.accept()?;
        let mut asked = Vec::new();
        while asked.is_empty() {
            if tls.complete_io(&mut socket).is_err() {
                return Ok(());
            }
            let mut some = [0; 1000];
            if let Ok(count) = tls.reader().read(&mut some) {
                asked.extend_from_slice(&some[..count]);
            }
        }
        tls.writer().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        tls.complete_io(&mut socket).map(drop)
    }

    fn plan(listener: &TcpListener, unfinished: bool) -> Handshakes {
        let url = format!("https://{}/healthz", listener.local_addr().unwrap());
        let target = HttpTarget::parse(&url, false).unwrap();
        Handshakes { target, per_second: 50, duration: Duration::from_millis(200), unfinished }
    }

    #[test]
    fn as_many_come_as_planned_and_are_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = plan(&listener, false);
        let serving = std::thread::spawn(move || (0..10).try_for_each(|_| serve(&listener)));
        let report = shake_hands(&plan).unwrap();
        serving.join().unwrap().unwrap();
        assert_eq!((report.begun, report.finished, report.handshake_ms.count), (10, 10, 10), "{report:?}");
        assert!(report.troubles.is_empty(), "{report:?}");
    }

    #[test]
    fn who_only_says_hello_stays_until_the_server_ends_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = plan(&listener, true);
        let serving = std::thread::spawn(move || {
            let mut kept = Vec::new();
            for n in 0..10 {
                let (mut socket, _) = listener.accept().unwrap();
                let mut hello = [0; 6];
                socket.read_exact(&mut hello).unwrap();
                assert_eq!((hello[0], hello[5]), (22, 1), "a ClientHello");
                // Every other one is ended, with nothing left unread that would reset it.
                if n % 2 == 1 {
                    let rest = u16::from_be_bytes([hello[3], hello[4]]) - 1;
                    socket.read_exact(&mut vec![0; rest.into()]).unwrap();
                } else {
                    kept.push(socket);
                }
            }
            kept
        });
        let report = shake_hands(&plan).unwrap();
        let kept = serving.join().unwrap();
        assert_eq!((report.begun, report.finished, kept.len()), (10, 0, 5), "{report:?}");
        assert_eq!(report.ended_by_server, 5, "{report:?}");
    }
}
