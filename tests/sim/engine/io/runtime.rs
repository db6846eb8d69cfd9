//! The executor: tasks of all shards and of what is outside of them, one after the other, each time any of those that are ready. And timers, which go
//! off when they are due or, where nobody is ready, as time goes on to them.
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::net;
use super::sys::instant_ns;
use super::world::{Timer, Weather, World, maybe, world};
use crate::config::IoChoice;

/// Turns of one walk at most.
const TURNS_MAX: u64 = 20_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    Simulated,
}

pub(crate) fn choose(_choice: IoChoice) -> io::Result<(Driver, &'static str)> {
    Ok((Driver::Simulated, "there is no other"))
}

/// A task that is ready puts itself in here.
#[derive(Default)]
struct Ready(Mutex<Vec<usize>>);

struct TaskWaker {
    task: usize,
    is_ready: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::Relaxed) {
            self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Who a task belongs to: a shard, whose tasks end with it, or nobody.
type Home = Option<usize>;

struct Task {
    work: Work,
    home: Home,
    waker: Arc<TaskWaker>,
}

#[derive(Default)]
struct Tasks {
    spawned: Vec<(Work, Home)>,
    /// Of the task that runs.
    home: Home,
    alive: usize,
    /// Shards that run.
    shards: usize,
    /// Shards that have ended.
    ended: Vec<usize>,
}

thread_local! {
    static TASKS: RefCell<Tasks> = RefCell::default();
}

fn start(work: Work, home: Home) {
    TASKS.with(|tasks| tasks.borrow_mut().spawned.push((work, home)));
}

pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    start(Box::pin(task), TASKS.with(|tasks| tasks.borrow().home));
}

/// Starts a task that belongs to no shard.
pub fn spawn_outside(task: impl Future<Output = ()> + 'static) {
    start(Box::pin(task), None);
}

/// Tasks that have not ended.
pub fn tasks() -> usize {
    TASKS.with(|tasks| tasks.borrow().alive + tasks.borrow().spawned.len())
}

/// Shards that have not ended.
pub fn shards() -> usize {
    TASKS.with(|tasks| tasks.borrow().shards)
}

pub(crate) fn start_shard<F: Future<Output = io::Result<()>> + 'static>(
    index: usize,
    _driver: Driver,
    main: impl FnOnce() -> F + 'static,
    end: impl FnOnce(io::Result<()>) + 'static,
) -> io::Result<()> {
    let work = async move {
        end(main().await);
        TASKS.with(|tasks| tasks.borrow_mut().ended.push(index));
    };
    TASKS.with(|tasks| tasks.borrow_mut().shards += 1);
    start(Box::pin(work), Some(index));
    Ok(())
}

/// Runs a walk until `main` has ended. What is left of it is dropped.
pub fn run(seed: u64, weather: Weather, print: bool, main: impl Future<Output = ()> + 'static) {
    /// However a walk ends, the next one of this thread begins anew.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            World::end();
            let left = TASKS.with(RefCell::take);
            drop(left);
        }
    }
    World::begin(seed, weather, print);
    let ends = Ends;
    start(Box::pin(main), None);
    let mut all: Vec<Option<Task>> = Vec::new();
    let ready = Arc::new(Ready::default());
    for _ in 0..TURNS_MAX {
        begin_spawned(&mut all, &ready);
        if !look_at_timers(&ready) {
            continue;
        }
        let picked = {
            let mut ready = ready.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = world(|world| world.random.below(ready.len() as u64)) as usize;
            ready.swap_remove(at)
        };
        turn(&mut all, picked);
        if all.first().is_some_and(Option::is_none) {
            drop(all);
            return drop(ends);
        }
    }
    panic!("the walk does not end: {TURNS_MAX} turns");
}

fn begin_spawned(all: &mut Vec<Option<Task>>, ready: &Arc<Ready>) {
    let spawned = TASKS.with(|tasks| std::mem::take(&mut tasks.borrow_mut().spawned));
    for (work, home) in spawned {
        let waker = Arc::new(TaskWaker { task: all.len(), is_ready: AtomicBool::new(false), ready: Arc::clone(ready) });
        Arc::clone(&waker).wake();
        all.push(Some(Task { work, home, waker }));
        TASKS.with(|tasks| tasks.borrow_mut().alive += 1);
    }
}

/// Lets timers go off. True: a task is ready.
fn look_at_timers(ready: &Ready) -> bool {
    while let Some(timer) = world(World::due) {
        match timer {
            Timer::Wake(waker) => waker.wake(),
            Timer::Mail(listener) => {
                let waker =
                    world(|world| world.listeners.get_mut(listener).map(|known| (known.0 = true, known.1.take())));
                if let Some((_, Some(waker))) = waker {
                    waker.wake();
                }
            }
            Timer::Vanished(connection) => net::vanished(connection),
        }
    }
    if !ready.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        return true;
    }
    world(|world| {
        let next = world.next_timer().unwrap_or_else(|| panic!("everybody waits, and nothing comes"));
        world.now_ns = world.now_ns.max(next);
    });
    false
}

fn turn(all: &mut [Option<Task>], picked: usize) {
    let Some(Some(task)) = all.get_mut(picked) else { return };
    task.waker.is_ready.store(false, Ordering::Relaxed);
    world(|world| {
        world.now_ns += 500 + world.random.below(8_000);
        if world.random.chance(world.weather.hiccups) {
            world.now_ns += world.random.below(20_000_000);
        }
        world.mix(world.now_ns);
        world.mix(picked as u64);
    });
    TASKS.with(|tasks| tasks.borrow_mut().home = task.home);
    let waker = Waker::from(Arc::clone(&task.waker));
    let polled = task.work.as_mut().poll(&mut Context::from_waker(&waker));
    TASKS.with(|tasks| tasks.borrow_mut().home = None);
    if polled.is_ready() {
        drop(all[picked].take());
        TASKS.with(|tasks| tasks.borrow_mut().alive -= 1);
    }
    // What a shard leaves ends with its thread.
    while let Some(shard) = TASKS.with(|tasks| tasks.borrow_mut().ended.pop()) {
        TASKS.with(|tasks| tasks.borrow_mut().shards -= 1);
        let spawned = TASKS.with(|tasks| {
            let tasks = &mut *tasks.borrow_mut();
            let (gone, rest): (Vec<_>, Vec<_>) = tasks.spawned.drain(..).partition(|(_, home)| *home == Some(shard));
            tasks.spawned = rest;
            gone
        });
        drop(spawned);
        for left in all.iter_mut().filter(|task| task.as_ref().is_some_and(|task| task.home == Some(shard))) {
            drop(left.take());
            TASKS.with(|tasks| tasks.borrow_mut().alive -= 1);
        }
    }
}

/// A timer that is taken back when nobody waits for it any more.
struct Sleep {
    until_ns: u64,
    set: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let until_ns = self.until_ns;
        let set = self.set.take();
        self.set = world(|world| {
            if let Some(key) = set {
                world.unset(key);
            }
            (world.now_ns < until_ns).then(|| world.set(until_ns, Timer::Wake(cx.waker().clone())))
        });
        if self.set.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.set.take() {
            maybe(|world| world.unset(key));
        }
    }
}

fn until(at_ns: u64) -> Sleep {
    let late_ns = world(|world| world.random.below(world.weather.timer_late_us * 1_000));
    Sleep { until_ns: at_ns + late_ns, set: None }
}

/// Waits.
pub async fn sleep(duration: Duration) {
    let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4);
    until(world(|world| world.now_ns).saturating_add(duration_ns)).await;
}

pub(crate) async fn sleep_until(at: Instant) {
    until(instant_ns(at)).await;
}

/// Others have their turn: as many of them as chance has it.
pub(crate) struct IoYield;

impl IoYield {
    pub(crate) fn new(_driver: Driver) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn wait(&self) {
        let wait_ns = world(|world| world.random.below(200_000));
        until(world(|world| world.now_ns) + wait_ns).await;
    }
}
