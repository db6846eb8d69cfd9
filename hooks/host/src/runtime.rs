//! The engine of the process: one configuration for compiling and running, the pool of instances, the host's functions.
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::state::State;
use crate::ticker::{Running, Ticker};
use crate::wit;
use crate::world::{MAX_MEMORIES, MAX_MEMORY_BYTES, MAX_STACK_BYTES, MAX_TABLE_ELEMENTS};

/// Of the memory, and of the tables, that a call wrote, this much stays with its place.
const KEPT_RESIDENT_BYTES: usize = 64 << 10;

/// How many instances may be there at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Calls that run at once: a few per thread that calls.
    pub calls: u32,
    /// Instances of motion hooks, which are kept.
    pub kept: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { calls: 64, kept: 0 }
    }
}

/// Why hooks cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime does not work on this machine, or its address space is too small.
    #[error(
        "hooks cannot run here: {0}. A limit of the address space (ulimit -v, LimitAS=) is the usual cause: the pool of instances reserves it without using it"
    )]
    Engine(String),
    /// The thread that watches the time of calls.
    #[error("hooks cannot run here: the thread that watches their time did not start: {0}")]
    Ticker(#[from] std::io::Error),
}

/// Compiles and runs hooks. One per process; clones are the same runtime.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    ticker: Ticker,
}

impl Runtime {
    /// A runtime with a pool of that many instances. Reserves about 4 GiB of address space for each; memory is taken when it is used.
    pub fn new(capacity: Capacity) -> Result<Self, RuntimeError> {
        Self::with(&pooled(capacity))
    }

    /// A runtime that compiles and runs a hook now and then, without a pool: for the compiler's process and for tools.
    pub fn without_pool() -> Result<Self, RuntimeError> {
        Self::with(&settings())
    }

    fn with(config: &Config) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        let engine = Engine::new(config).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        wit::host::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state).map_err(failed)?;
        let ticker = Ticker::start(&engine)?;
        Ok(Self(Arc::new(Inner { engine, linker, ticker })))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.0.linker
    }

    pub(crate) fn run(&self) -> Running<'_> {
        self.0.ticker.run()
    }

    /// Identifies what compiled code depends on: the runtime's version, its settings, the processor's features. Code with another
    /// fingerprint must not be loaded.
    pub fn fingerprint(&self) -> [u8; 32] {
        struct Into(Sha256);
        impl Hasher for Into {
            fn finish(&self) -> u64 {
                0
            }
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
        }
        let mut hasher = Into(Sha256::new());
        self.engine().precompile_compatibility_hash().hash(&mut hasher);
        (wit::VERSION, self.engine().is_pulley()).hash(&mut hasher);
        hasher.0.finalize().into()
    }
}

/// What changes the code that is generated: the same wherever hooks are compiled or run.
fn settings() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(MAX_STACK_BYTES);
    config.cranelift_opt_level(OptLevel::Speed);
    // A hook answers the same on every processor, so that decisions can be replayed.
    config.wasm_relaxed_simd(false);
    // What joins the parts of a component reaches the memories of two; a module of its own has one: see `inspect::validate`.
    config.wasm_multi_memory(true);
    config.wasm_memory64(false);
    // Traps are described by the guest's own frames; nothing unwinds through them.
    config.native_unwind_info(false);
    config
}

fn pooled(capacity: Capacity) -> Config {
    let instances = capacity.calls.saturating_add(capacity.kept).clamp(1, 4096);
    let mut pool = PoolingAllocationConfig::new();
    // A component is a core module and, around it, small ones that the tools generate.
    pool.total_component_instances(instances)
        .max_component_instance_size(1 << 20)
        .max_core_instances_per_component(16)
        .total_core_instances(instances.saturating_mul(6))
        .max_core_instance_size(1 << 20)
        .max_memories_per_component(MAX_MEMORIES)
        .max_memories_per_module(1)
        // Few have more than one.
        .total_memories(instances.saturating_add(8))
        .max_memory_size(MAX_MEMORY_BYTES)
        .max_tables_per_component(8)
        .max_tables_per_module(4)
        .total_tables(instances.saturating_mul(4))
        .table_elements(MAX_TABLE_ELEMENTS)
        // What a call wrote is undone before the next one: no instance sees what another one left. The kernel says which pages those are, and the first
        // ones are written over instead of being given back: that halves what a fresh instance costs. Kernels before 6.7 cannot say it.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(KEPT_RESIDENT_BYTES)
        .table_keep_resident(KEPT_RESIDENT_BYTES);
    let mut config = settings();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
