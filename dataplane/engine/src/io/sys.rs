//! System calls that neither std nor the runtime offers, each wrapped once.
#![allow(unsafe_code)]
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pieces of one send (`IOV_MAX`).
const PIECES_MAX: usize = 1_024;

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; the clock id is valid on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Pins the calling thread to a core of those that the process may use; does nothing where there is no such core.
pub(crate) fn pin_to_core(index: usize) {
    // SAFETY: cpu_set_t is plain bits, for which zero is valid; both calls get its size and a live pointer.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) != 0 {
            return;
        }
        let cores: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &allowed)).collect();
        let Some(&core) = cores.get(index) else { return };
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut one);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
    }
}

/// Raises the limit of open descriptors to the most that is allowed, and says what it is now.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a live pointer to a plain struct.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 0;
        }
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) == 0 {
            limit.rlim_cur = limit.rlim_max;
        }
    }
    limit.rlim_cur
}

/// Receives what is there, without waiting: `None` where nothing is, `Some(0)` at the end of the stream.
pub(crate) fn recv_now(fd: RawFd, buf: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: pointer and length are of a live buffer.
    let count = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) };
    if count >= 0 {
        return Ok(Some(count as usize));
    }
    match io::Error::last_os_error() {
        error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        error => Err(error),
    }
}

/// Sends what fits of several pieces, at most [`PIECES_MAX`], without waiting: how many bytes. None of a peer that is gone, too: whoever
/// waits on the socket hears of that.
pub(crate) fn send_pieces_now(fd: RawFd, pieces: &[io::IoSlice<'_>]) -> usize {
    // SAFETY: a `msghdr` of zeros is an empty message. An `IoSlice` is an `iovec` by its documentation, and the kernel only reads those and
    // what they point to, which are borrowed for the call.
    let count = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = pieces.as_ptr().cast::<libc::iovec>().cast_mut();
        message.msg_iovlen = pieces.len().min(PIECES_MAX) as _;
        libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    usize::try_from(count).unwrap_or(0)
}

/// What goes beside the bytes of a TLS record that the kernel makes, if it is none of data.
#[repr(C)]
struct RecordType {
    header: libc::cmsghdr,
    /// Its first byte is the type; the rest fills it up, as the kernel rounds the length.
    data: [u8; size_of::<libc::size_t>()],
}

/// `TLS_SET_RECORD_TYPE` (`linux/tls.h`).
const SET_RECORD_TYPE: libc::c_int = 1;

/// Has the kernel make a TLS record of that type, without waiting. False: there is no room.
pub(crate) fn send_tls_record(fd: RawFd, kind: u8, body: &[u8]) -> io::Result<bool> {
    let mut data = [0; size_of::<libc::size_t>()];
    data[0] = kind;
    // SAFETY: a header of zeros is an empty one, with whatever a platform fills it up with; the other call computes a length.
    let (mut header, length) = unsafe { (std::mem::zeroed::<libc::cmsghdr>(), libc::CMSG_LEN(1)) };
    (header.cmsg_len, header.cmsg_level, header.cmsg_type) = (length as _, libc::SOL_TLS, SET_RECORD_TYPE);
    let control = RecordType { header, data };
    let pieces = [io::IoSlice::new(body)];
    // SAFETY: a `msghdr` of zeros is an empty message. An `IoSlice` is an `iovec` by its documentation. The kernel only reads that, what it points to,
    // and the control message, whose length is its size: all of these outlive the call.
    let count = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = pieces.as_ptr().cast::<libc::iovec>().cast_mut();
        message.msg_iovlen = pieces.len() as _;
        message.msg_control = (&raw const control).cast_mut().cast();
        message.msg_controllen = size_of::<RecordType>() as _;
        libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    match usize::try_from(count) {
        Ok(count) => Ok(count == body.len()),
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            error => Err(error),
        },
    }
}

/// The monotonic clock, nanoseconds since the kernel's own epoch.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec`, which outlives the call. It has no way to fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The monotonic clock, as timers want it.
pub(crate) fn monotonic_instant() -> Instant {
    Instant::now()
}

/// Wall-clock time since 1970; none where the clock stands before that.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Asks for the cache line of an address. The address need not be valid.
pub(crate) fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing into the program and does not fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Gives memory that is free back to the system, on a thread of its own: it is a walk through all of that.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // Without a thread for it, it is done another time.
    drop(std::thread::Builder::new().name("give-back".to_owned()).stack_size(64 << 10).spawn(|| {
        // SAFETY: no memory is passed, and what is in use is not touched.
        unsafe { libc::malloc_trim(0) }
    }));
}

/// Ends one or both directions: operations that wait on the socket complete.
pub(crate) fn shutdown(fd: RawFd, how: libc::c_int) {
    // SAFETY: no memory is passed; a stale descriptor cannot be given, because the caller holds the socket.
    unsafe { libc::shutdown(fd, how) };
}

/// A fresh eventfd, non-blocking.
pub(crate) fn eventfd() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: no memory is passed, and the descriptor that comes back is new and ours alone.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(std::os::fd::OwnedFd::from_raw_fd(fd)) }
    }
}

/// Sets an integer TCP option.
pub(crate) fn set_tcp(fd: RawFd, option: libc::c_int, value: libc::c_int) {
    // SAFETY: the pointer is to a live integer of the given size.
    unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, option, (&raw const value).cast(), size_of::<libc::c_int>() as u32);
    }
}

/// Reads from a non-blocking descriptor that is no socket.
pub(crate) fn read_now(fd: std::os::fd::BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    // SAFETY: pointer and length are of a live buffer.
    let count = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes to a non-blocking descriptor that is no socket.
pub(crate) fn write_now(fd: std::os::fd::BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    // SAFETY: pointer and length are of a live buffer.
    let count = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
