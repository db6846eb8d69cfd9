//! What a target that is slow misses, and that others miss nothing. Beside [`super`].
use tokio::sync::mpsc::{Receiver, channel};

use super::super::fixture::{GOP_FRAMES, LOG_FRAMES, OnAir, number};
use super::super::link::QUEUE_BLOCKS;
use super::*;

/// A target that is connected: its follower, and what comes of that.
fn target(name: &str) -> (Follower, Arc<Link>, Receiver<Piece>) {
    let link = Arc::new(Link::new(name.to_owned()));
    link.want(1);
    let (to, pieces) = channel(QUEUE_BLOCKS);
    (Follower::new(Arc::clone(&link), to), link, pieces)
}

/// Takes all that waits: the number of each frame, and whether it is behind a loss.
fn taken(pieces: &mut Receiver<Piece>) -> Vec<(u64, bool)> {
    let mut all = Vec::new();
    while let Ok(piece) = pieces.try_recv() {
        let frames = piece.block.frames().filter(|tag| tag.body[1] == 1);
        all.extend(frames.map(|tag| (number(tag.body), piece.after_loss)));
    }
    all
}

/// Frames of these numbers, none of them behind a loss.
fn whole(numbers: std::ops::Range<u64>) -> Vec<(u64, bool)> {
    numbers.map(|number| (number, false)).collect()
}

#[test]
fn a_slow_target_goes_on_at_the_newest_keyframe_and_another_one_has_all() {
    let mut stream = OnAir::new(100);
    let (mut slow, slow_link, mut slow_pieces) = target("slow");
    let (mut quick, quick_link, mut quick_pieces) = target("quick");
    let (mut seen, mut behind) = (Vec::new(), 0);
    for _ in 0..300 {
        stream.frame();
        behind += u32::from(slow.advance(stream.view()) == Progress::Behind);
        assert_eq!(quick.advance(stream.view()), Progress::CaughtUp);
        seen.extend(taken(&mut quick_pieces));
        // What waits for the slow one is bounded, and so is what the log holds for it.
        assert!(slow_pieces.len() <= QUEUE_BLOCKS);
        assert!(stream.log().head() - stream.log().first() <= LOG_FRAMES + GOP_FRAMES + 1);
    }
    assert_eq!(seen, whole(0..300), "the quick one has all");
    assert!(behind > 250, "{behind}");
    // It has what its queue holds since the beginning.
    assert_eq!(taken(&mut slow_pieces), whole(0..QUEUE_BLOCKS as u64));
    // From there to the newest keyframe is lost, and told once.
    stream.frame();
    slow.advance(stream.view());
    let next = taken(&mut slow_pieces);
    assert_eq!(next[0], (300, true));
    for _ in 0..15 {
        stream.frame();
        assert_eq!(slow.advance(stream.view()), Progress::CaughtUp);
    }
    assert_eq!(taken(&mut slow_pieces), whole(301..316));
    assert_eq!((slow_link.shown().skips, quick_link.shown().skips), (1, 0));
}

#[test]
fn a_target_that_is_a_little_slow_misses_nothing() {
    let mut stream = OnAir::new(100);
    let (mut follower, link, mut pieces) = target("slow");
    let mut seen = Vec::new();
    for _ in 0..20 {
        // More than its queue holds, and less than the log does.
        for _ in 0..QUEUE_BLOCKS + 8 {
            stream.frame();
            follower.advance(stream.view());
        }
        while follower.advance(stream.view()) == Progress::Behind {
            seen.extend(taken(&mut pieces));
        }
        seen.extend(taken(&mut pieces));
    }
    assert_eq!(seen, whole(0..20 * (QUEUE_BLOCKS as u64 + 8)));
    assert_eq!(link.shown().skips, 0);
}

#[test]
fn another_connection_begins_at_the_newest_keyframe() {
    let mut stream = OnAir::new(100);
    let (mut follower, link, mut pieces) = target("again");
    (0..5).for_each(|_| stream.frame());
    follower.advance(stream.view());
    assert_eq!(taken(&mut pieces), whole(0..5));
    // While it is away nothing is taken for it.
    link.want(0);
    for _ in 0..20 {
        stream.frame();
        assert_eq!(follower.advance(stream.view()), Progress::CaughtUp);
    }
    assert_eq!(pieces.len(), 0);
    link.want(2);
    follower.advance(stream.view());
    assert_eq!(taken(&mut pieces), whole(20..25));
    // Also where it was not seen to be away.
    link.want(3);
    follower.advance(stream.view());
    assert_eq!(taken(&mut pieces), whole(20..25));
    drop(pieces);
    stream.frame();
    assert_eq!(follower.advance(stream.view()), Progress::Done, "nobody pushes it on any more");
}
