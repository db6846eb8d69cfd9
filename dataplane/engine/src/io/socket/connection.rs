//! The connection that both directions share: operations of both at once, and the end of its sending direction. Before it: the runtime's socket; after it:
//! [`super::reader`] and [`super::writer`].
#![allow(unsafe_code)]
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use monoio::net::TcpStream;

use crate::io::runtime::on_epoll;
use crate::io::tls::Tls;
use crate::io::{ktls, sys};

/// The connection that both directions share. Not monoio's own halves: its writing half shuts the socket down when it is
/// dropped, and a publisher's socket goes on at another shard.
#[derive(Clone)]
pub(crate) struct Shared(pub(super) Rc<TcpStream>);

impl Shared {
    pub(super) fn operation(&self) -> Operation<'_, TcpStream> {
        // SAFETY: a `TcpStream` is an `Rc` to the descriptor, the descriptor's number, and a cache of addresses (monoio 0.2.4: `TcpStream`,
        // `StreamMeta`; the version is pinned). The runtime's operation, which may outlive the value, clones the `Rc`.
        unsafe { Operation::on(&self.0) }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Lets the descriptor go; `None` where somebody else still refers to it.
    pub(super) fn into_fd(self) -> Option<OwnedFd> {
        let stream = Rc::into_inner(self.0)?;
        // SAFETY: `into_raw_fd` gives up ownership, which is taken here.
        Some(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
    }
}

/// A shared value for one operation. The runtime borrows a connection mutably for as long as an operation lasts, and there are two at a time, one
/// that reads and one that writes: each gets a value of its own, so that no reference to the shared one is kept across a wait.
pub(super) struct Operation<'a, T>(ManuallyDrop<T>, PhantomData<&'a T>);

impl<'a, T> Operation<'a, T> {
    /// # Safety
    /// A copy of a `T`, bit by bit, that is never dropped may be used beside the original, and owns no memory that the original does, too, but
    /// by counts of references.
    unsafe fn on(shared: &'a Rc<T>) -> Self {
        // SAFETY: the pointer is of a live value, which outlives the copy by its lifetime. That the copy is one is up to the caller.
        Self(ManuallyDrop::new(unsafe { std::ptr::read(Rc::as_ptr(shared)) }), PhantomData)
    }
}

impl<T> Deref for Operation<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Operation<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Gives the kernel other keys where it is to have them, and the socket room for that.
pub(super) fn renew(fd: RawFd, tls: &Tls) {
    if tls.wants_keys() {
        ktls::renew(fd, tls);
    }
}

/// Has the socket take of the connection's queue what it takes, behind other keys where it is to have them. True: nothing is left.
pub(super) fn flush(fd: RawFd, tls: &Tls) -> bool {
    renew(fd, tls);
    tls.flush(|records| {
        let count = sys::send_pieces_now(fd, &[io::IoSlice::new(records)]);
        tls.took(count);
        count
    })
}

/// Ends the sending direction; with TLS the peer is told, as far as that fits.
pub(super) fn finish(fd: RawFd, tls: Option<&Tls>) {
    if let Some(tls) = tls {
        if !tls.is_in_kernel() {
            tls.close();
        }
        if flush(fd, tls) && tls.is_in_kernel() {
            ktls::say_goodbye(fd, tls);
        }
    }
    sys::shutdown(fd, libc::SHUT_WR);
}

/// Where the kernel makes the records: waits until it has taken the goodbye, and what it may hold before that ([`crate::io::ktls`]).
pub(super) async fn say_goodbye(shared: &Shared, tls: Option<&Tls>) {
    let Some(tls) = tls.filter(|tls| tls.is_in_kernel() && tls.is_sent()) else { return };
    // Room first: without it the kernel takes a goodbye all the same, and holds it behind what it holds already.
    while shared.0.writable(false).await.is_ok() && !ktls::say_goodbye(shared.fd(), tls) {
        // It lacks memory, which a socket that has room does not say.
        on_epoll().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, UnsafeCell};
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What a `TcpStream` is made of, with operations that use their reference again after each wait.
    #[derive(Default)]
    struct Model {
        descriptor: Rc<Cell<u32>>,
        addresses: UnsafeCell<[u64; 8]>,
    }

    impl Model {
        async fn operate(&mut self) {
            for _ in 0..3 {
                let held = Rc::clone(&self.descriptor);
                held.set(held.get() + 1);
                self.addresses.get_mut()[0] += 1;
                yields().await;
            }
        }

        async fn readable(&self) {
            for _ in 0..3 {
                yields().await;
                self.descriptor.set(self.descriptor.get() + 1);
            }
        }
    }

    async fn yields() {
        let mut polled = false;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// For Miri: monoio's driver itself breaks the rules of aliasing that it checks, so that the test below says nothing of ours.
    #[test]
    fn operations_that_overlap_keep_to_the_rules_of_aliasing() {
        let shared = Rc::new(Model::default());
        // SAFETY: a `Model` holds a count of references and plain numbers.
        let (mut reads, mut writes) = unsafe { (Operation::on(&shared), Operation::on(&shared)) };
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> =
            vec![Box::pin(reads.operate()), Box::pin(writes.operate()), Box::pin(shared.readable())];
        let mut cx = Context::from_waker(Waker::noop());
        while !all.is_empty() {
            all.retain_mut(|one| one.as_mut().poll(&mut cx).is_pending());
        }
        drop(all);
        assert_eq!((shared.descriptor.get(), Rc::strong_count(&shared.descriptor)), (9, 1));
    }
}
