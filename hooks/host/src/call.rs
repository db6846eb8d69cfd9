//! What a call of a hook comes to: its answer or why there is none, and the CPU time that it took.
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::state::State;
use crate::text::bounded;
use crate::world::World;

/// A call that is over.
#[derive(Debug)]
#[must_use]
pub struct Called<T> {
    /// The hook's answer, checked.
    pub result: Result<T, Failure>,
    /// CPU time of the calling thread, with the making and the dropping of the instance.
    pub cpu: Duration,
}

impl<T> Called<T> {
    /// The same call with another answer.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Called<U> {
        Called { result: self.result.map(with), cpu: self.cpu }
    }
}

/// What is wrong with the answer of a hook that asks again and again.
pub const ASKS_TOO_OFTEN: &str = "it asks upstreams more than twice for one decision";

/// Why a call has no answer. The messages are for the hook's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The guest's code ended itself: a panic, an access outside its memory, a division by zero.
    #[error("the hook trapped: {cause}. A panic of the guest's language looks like this")]
    Trap {
        /// The trap, and the function where it happened.
        cause: String,
    },
    /// The CPU budget was used up.
    #[error(
        "the hook used more than its {} ms of CPU time: look for a loop that does not end",
        budget.as_millis()
    )]
    OutOfTime {
        /// The budget.
        budget: Duration,
    },
    /// It asked for more memory than it may have, and ended because it did not get it.
    #[error("the hook asked for more than its {} MiB of memory", limit_bytes >> 20)]
    Memory {
        /// The limit.
        limit_bytes: usize,
    },
    /// Recursion without end, or very large values on the stack.
    #[error("the hook used more than its 256 KiB of stack: look for a recursion that does not end")]
    StackOverflow,
    /// It handed more data to the host at once than it may.
    #[error("the hook handed more than {} KiB to the host at once, in a call of a host function or in its answer", limit_bytes >> 10)]
    HostcallFuel {
        /// The limit.
        limit_bytes: usize,
    },
    /// The answer breaks the contract.
    #[error("the hook's answer is not valid: {0}")]
    Answer(String),
    /// All instances that the server has room for are in use.
    #[error("no room for another instance of a hook: as many calls as the server allows are running")]
    NoInstance,
    /// The kept instance has failed before, and cannot be entered again.
    #[error("this instance of the hook has failed before: a new one is needed")]
    Ended,
    /// The module is for something else.
    #[error("the hook is of the kind {is}, and was called as {called}: bind it where its kind belongs")]
    World {
        /// What the module is.
        is: World,
        /// What it was called for.
        called: World,
    },
    /// The instance could not be made.
    #[error("the hook could not be started: {0}")]
    Start(String),
}

impl Failure {
    /// A word for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::OutOfTime { .. } => "time",
            Self::Memory { .. } => "memory",
            Self::StackOverflow => "stack",
            Self::HostcallFuel { .. } => "hostcall",
            Self::Answer(_) => "answer",
            Self::NoInstance => "busy",
            Self::Ended => "ended",
            Self::World { .. } => "world",
            Self::Start(_) => "start",
        }
    }

    /// All words of [`Failure::label`].
    pub const LABELS: [&str; 10] =
        ["trap", "time", "memory", "stack", "hostcall", "answer", "busy", "ended", "world", "start"];

    /// Whether the fault is the hook's, not the server's: what counts for rolling back by itself.
    pub const fn is_hooks_fault(&self) -> bool {
        !matches!(self, Self::NoInstance | Self::Ended | Self::World { .. })
    }

    /// What stopped a call, from what the runtime says and what the store saw.
    pub(crate) fn of(error: &wasmtime::Error, state: &State) -> Self {
        if state.out_of_time {
            return Self::OutOfTime { budget: state.limits.cpu };
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return Self::NoInstance;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::OutOfTime { budget: state.limits.cpu },
            Some(Trap::StackOverflow) => Self::StackOverflow,
            // A guest that does not get memory ends itself, and one that begins with too much is not made: what it wanted is more use
            // than how it ended.
            _ if state.memory_refused => Self::Memory { limit_bytes: state.limits.memory_bytes },
            Some(trap) => Self::Trap { cause: format!("{trap}{}", place(error)) },
            None => {
                let cause = bounded(&format!("{:#}", error.root_cause()));
                // The runtime's own type for it is private.
                if cause.contains("hostcalls has been exhausted") {
                    Self::HostcallFuel { limit_bytes: state.limits.hostcall_bytes }
                } else if !state.entered {
                    Self::Start(cause)
                } else if cause.starts_with("it called wasi:") {
                    Self::Trap { cause }
                } else {
                    Self::Answer(cause)
                }
            }
        }
    }
}

/// The innermost function of the guest, as far as the module has names.
fn place(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let names: Vec<String> = frames
        .iter()
        .take(3)
        .map(|frame| frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), bounded))
        .collect();
    if names.is_empty() { String::new() } else { format!(", in {}", names.join(", called by ")) }
}
