//! Work that is to slow nobody down.
use std::io;
use std::thread;

use rustix::process::nice;

/// As far below the other threads as it goes.
const NICE: i32 = 19;

/// Does this on a thread of its own, which gives way to all others, and waits for it.
pub fn run_aside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            // On Linux a priority is a thread's, not its process'. Where it cannot be lowered the work is done all the same.
            let _ = nice(NICE);
            work()
        })?;
        thread.join().map_err(|_| io::Error::other("the work has failed by a defect"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_alone_gives_way() {
        let before = nice(0).unwrap();
        let aside = run_aside("aside", || nice(0).unwrap()).unwrap();
        assert_eq!((aside, nice(0).unwrap()), (NICE, before), "{before} before");
        assert!(run_aside("aside", || panic!("a defect")).is_err());
    }
}
