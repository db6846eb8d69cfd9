//! An instance of a motion hook: one per stream, kept from frame to frame.
use wasmtime::Store;

use crate::answer;
use crate::call::{Called, Failure};
use crate::hook::Hook;
use crate::module::Role;
use crate::state::{State, thread_cpu};
use crate::wit::motion::{Event, Guest, Source, Wanted};
use crate::world::World;

/// A motion hook at work on one stream. After a failure it cannot be entered again: make a new one.
pub struct Motion {
    hook: Hook,
    store: Store<State>,
    guest: Guest,
    ended: bool,
}

impl Hook {
    /// Makes an instance of a motion hook, which is kept.
    pub fn motion(&self) -> Called<Motion> {
        let running = self.module().runtime().run();
        let began = thread_cpu();
        let mut store = self.store(began);
        let made =
            self.module().pre().instantiate(&mut store).and_then(|instance| match &self.module().exports().role {
                Role::Motion(exports) => exports.load(&mut store, &instance).map(Some),
                _ => Ok(None),
            });
        let result = match made {
            Ok(Some(guest)) => {
                store.data_mut().entered = true;
                Ok(Motion { hook: self.clone(), store, guest, ended: false })
            }
            Ok(None) => Err(Failure::World { is: self.module().world(), called: World::Motion }),
            Err(error) => Err(Failure::of(&error, store.data())),
        };
        drop(running);
        Called { result, cpu: thread_cpu().saturating_sub(began) }
    }
}

impl Motion {
    /// Tells it the stream; it says which frames it wants, or that it does not want the stream.
    pub fn start(&mut self, source: &Source) -> Called<Result<Wanted, String>> {
        self.call(|guest, store| {
            let wanted = guest.call_start(store, source)?;
            Ok(match wanted {
                Ok(wanted) => answer::wanted(wanted).map(Ok),
                Err(text) => Ok(Err(answer::text(&text))),
            })
        })
    }

    /// One frame: `width` x `height` bytes.
    pub fn on_frame(&mut self, luma: &[u8], width: u32, height: u32, pts_ms: u64) -> Called<Option<Event>> {
        self.call(|guest, store| {
            let event = guest.call_on_frame(store, luma, width, height, pts_ms)?;
            Ok(event.map(|event| answer::event(event, width, height)).transpose())
        })
    }

    fn call<T>(
        &mut self,
        with: impl FnOnce(&Guest, &mut Store<State>) -> wasmtime::Result<Result<T, String>>,
    ) -> Called<T> {
        let began = thread_cpu();
        if self.ended {
            return Called { result: Err(Failure::Ended), cpu: std::time::Duration::ZERO };
        }
        let running = self.hook.module().runtime().run();
        let state = self.store.data_mut();
        (state.began, state.log_lines) = (began, 0);
        self.store.set_epoch_deadline(1);
        let result = match with(&self.guest, &mut self.store) {
            Ok(answer) => answer.map_err(Failure::Answer),
            Err(error) => {
                self.ended = true;
                Err(Failure::of(&error, self.store.data()))
            }
        };
        drop(running);
        Called { result, cpu: thread_cpu().saturating_sub(began) }
    }
}
