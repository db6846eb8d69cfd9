//! The worker's process for tests: its pipes, and what it has said so far.
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_worker::protocol::{Message, Order, PictureCodec, Reader, Rendition, Report, SecretUrl, encode};

pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<(Report, Bytes)>>>,
    complaint: Arc<Mutex<String>>,
}

impl Worker {
    pub(crate) fn start() -> Self {
        Self::of(&mut Command::new(env!("CARGO_BIN_EXE_millstream-worker")))
    }

    /// A worker with an `ffmpeg`, and perhaps an encoder of it.
    pub(crate) fn start_with(ffmpeg: &str, encoder: Option<&str>) -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_millstream-worker")).arg("").arg(ffmpeg).args(encoder))
    }

    /// A worker that has one core.
    pub(crate) fn start_on_one_core() -> Self {
        Self::of(Command::new("taskset").args(["-c", "0", env!("CARGO_BIN_EXE_millstream-worker")]))
    }

    fn of(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the worker");
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let said: Arc<Mutex<Vec<(Report, Bytes)>>> = Arc::default();
        let complaint: Arc<Mutex<String>> = Arc::default();
        {
            let said = Arc::clone(&said);
            thread::spawn(move || {
                let (mut reader, mut buffer) = (Reader::new(), vec![0; 65_536]);
                while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                    reader.push(&buffer[..length]);
                    while let Some(Message { header, payload }) = reader.poll::<Report>().expect("reports") {
                        said.lock().unwrap().push((header, payload));
                    }
                }
            });
        }
        {
            let complaint = Arc::clone(&complaint);
            thread::spawn(move || {
                let mut buffer = vec![0; 4096];
                while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                    complaint.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
                }
            });
        }
        let stdin = child.stdin.take();
        Self { child, stdin, said, complaint }
    }

    pub(crate) fn order(&mut self, order: &Order) {
        self.bytes(&encode(order, b"").unwrap());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).expect("the worker reads");
    }

    pub(crate) fn said(&self) -> Vec<Report> {
        self.said.lock().unwrap().iter().map(|(report, _)| report.clone()).collect()
    }

    /// The first report that is as it should be, and its payload.
    #[track_caller]
    pub(crate) fn wait(&self, what: impl Fn(&Report) -> bool) -> (Report, Bytes) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(said) = self.said.lock().unwrap().iter().find(|(report, _)| what(report)) {
                return said.clone();
            }
            let complaint = self.complaint.lock().unwrap().clone();
            assert!(Instant::now() < until, "it said {:?}, and complained {complaint:?}", self.said());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes its input and waits for its end.
    pub(crate) fn finish(mut self) -> (ExitStatus, Duration) {
        drop(self.stdin.take());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, begun.elapsed());
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn rendition(name: &str, push: &str, (width_max, height_max): (u32, u32), video_kbit_s: u32) -> Rendition {
    let codec = PictureCodec::H264;
    Rendition { name: name.to_owned(), push: SecretUrl::new(push), width_max, height_max, video_kbit_s, codec }
}
