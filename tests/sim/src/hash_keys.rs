//! The order of hash maps comes from the seed: their keys are what `getrandom` gives, and std takes it from where the linker finds it first.
#![allow(unsafe_code)]
use std::cell::Cell;

use millstream_test_support::random::Random;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Maps of this thread are those of the seed from here on.
pub(super) fn begin(seed: u64) {
    SEED.set(seed);
}

/// # Safety
/// As `getrandom(2)`: the buffer has that length.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buf: *mut u8, len: usize, _flags: u32) -> isize {
    let mut random = Random::new(SEED.get());
    SEED.set(random.next_u64());
    for at in 0..len {
        // SAFETY: within the buffer, by the contract of the function.
        unsafe { buf.add(at).write(random.next_u64() as u8) };
    }
    isize::try_from(len).unwrap_or(-1)
}
