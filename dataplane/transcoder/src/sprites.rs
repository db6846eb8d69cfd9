//! Sprites of recordings: one is made at a time, and told to who asked for it. Sans-IO. Before it: [`super::workers`]; after it: [`super::process`].
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use millstream_worker::protocol::{Order, PAYLOAD_BYTES_MAX, Report, TILES_MAX, Tile};
use tokio::sync::oneshot::Sender;

/// Sprites that wait for their turn.
const WAITING_MAX: usize = 4;
/// Workers that are tried: a keyframe may be the end of one.
const TRIES: u32 = 2;

/// A coded keyframe of H.264.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyframe {
    /// Its record (`avcC`).
    pub record: Bytes,
    /// NAL units, with lengths as the record says.
    pub frame: Bytes,
}

/// Small pictures in one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sprite {
    /// The JPEG.
    pub jpeg: Bytes,
    /// Width and height of a tile, pixels.
    pub tile: (u32, u32),
    /// Tiles that show a picture; the others are grey.
    pub drawn: u32,
}

/// Why there is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoSprite {
    /// Too many wait.
    #[error("too many are being made")]
    Busy,
    /// More keyframes, or bytes of them, than one takes.
    #[error("it has more keyframes than are taken, or none")]
    Large,
    /// It was not made in time.
    #[error("it was not made in time")]
    Late,
    /// It cannot be made.
    #[error("{0}")]
    Impossible(String),
}

/// Sprites that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Sprites {
    waiting: VecDeque<Waiting>,
    last_request: u64,
}

#[derive(Debug)]
struct Waiting {
    tiles: Vec<Tile>,
    payload: Bytes,
    columns: u32,
    within: (u32, u32),
    asker: Sender<Result<Sprite, NoSprite>>,
    /// The worker has been asked, with this number.
    request: Option<u64>,
    tries: u32,
}

impl Sprites {
    /// Somebody wants one.
    pub(crate) fn want(
        &mut self,
        keyframes: &[Keyframe],
        columns: u32,
        within: (u32, u32),
        asker: Sender<Result<Sprite, NoSprite>>,
    ) -> Result<(), NoSprite> {
        let bytes: usize = keyframes.iter().map(|keyframe| keyframe.record.len() + keyframe.frame.len()).sum();
        if keyframes.is_empty() || keyframes.len() > TILES_MAX || bytes > PAYLOAD_BYTES_MAX {
            return Err(NoSprite::Large);
        }
        self.forget_unasked();
        if self.waiting.len() >= WAITING_MAX {
            return Err(NoSprite::Busy);
        }
        let mut payload = BytesMut::with_capacity(bytes);
        let tile = |Keyframe { record, frame }: &Keyframe| {
            payload.extend_from_slice(record);
            payload.extend_from_slice(frame);
            Tile { record_bytes: record.len() as u32, frame_bytes: frame.len() as u32 }
        };
        let tiles = keyframes.iter().map(tile).collect();
        self.waiting.push_back(Waiting {
            tiles,
            payload: payload.freeze(),
            columns,
            within,
            asker,
            request: None,
            tries: 0,
        });
        Ok(())
    }

    /// Who gave up frees the place, but for what a worker is making: until it has answered it takes no other one.
    fn forget_unasked(&mut self) {
        self.waiting.retain(|waiting| waiting.request.is_some() || !waiting.asker.is_closed());
    }

    /// What a worker is to be asked now.
    pub(crate) fn order(&mut self) -> Option<(Order, Bytes)> {
        self.forget_unasked();
        let first = self.waiting.front_mut().filter(|first| first.request.is_none())?;
        self.last_request += 1;
        first.request = Some(self.last_request);
        first.tries += 1;
        let order = Order::Sprite {
            request: self.last_request,
            columns: first.columns,
            tile_width_max: first.within.0,
            tile_height_max: first.within.1,
            tiles: first.tiles.clone(),
        };
        Some((order, first.payload.clone()))
    }

    /// The worker has ended: another one is asked, once.
    pub(crate) fn forget_request(&mut self) {
        let Some(first) = self.waiting.front_mut().filter(|first| first.request.is_some()) else { return };
        first.request = None;
        if first.tries >= TRIES
            && let Some(first) = self.waiting.pop_front()
        {
            let _ = first.asker.send(Err(NoSprite::Impossible("the worker ended with it".to_owned())));
        }
    }

    /// What the worker answers. True: the next one may be asked for.
    pub(crate) fn heard(&mut self, report: &Report, payload: &Bytes) -> bool {
        let Report::Sprite { request, tile_width, tile_height, drawn, error } = report else { return false };
        if self.waiting.front().is_none_or(|first| first.request != Some(*request)) {
            return false;
        }
        let Some(first) = self.waiting.pop_front() else { return false };
        let sprite = match error {
            Some(error) => Err(NoSprite::Impossible(error.clone())),
            None => Ok(Sprite { jpeg: payload.clone(), tile: (*tile_width, *tile_height), drawn: *drawn }),
        };
        // Who asked may have given up.
        let _ = first.asker.send(sprite);
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{Receiver, channel};

    use super::*;

    fn want(sprites: &mut Sprites, frame: &'static [u8]) -> Receiver<Result<Sprite, NoSprite>> {
        let keyframe = Keyframe { record: Bytes::from_static(b"avcc"), frame: Bytes::from_static(frame) };
        let (asker, made) = channel();
        sprites.want(&[keyframe.clone(), keyframe], 5, (160, 90), asker).unwrap();
        made
    }

    fn request(sprites: &mut Sprites) -> Option<(u64, Bytes)> {
        let (Order::Sprite { request, tiles, .. }, payload) = sprites.order()? else { panic!("another order") };
        assert_eq!(tiles.len(), 2);
        Some((request, payload))
    }

    fn made(request: u64) -> Report {
        Report::Sprite { request, tile_width: 160, tile_height: 90, drawn: 2, error: None }
    }

    #[test]
    fn one_is_made_at_a_time_and_told_to_who_asked() {
        let mut sprites = Sprites::default();
        let (mut first, mut second) = (want(&mut sprites, b"one"), want(&mut sprites, b"two"));
        assert_eq!(request(&mut sprites), Some((1, Bytes::from_static(b"avcconeavccone"))));
        assert_eq!(request(&mut sprites), None, "it is being made");
        assert!(!sprites.heard(&made(7), &Bytes::new()), "of another");
        assert!(sprites.heard(&made(1), &Bytes::from_static(b"jpeg")));
        assert_eq!(first.try_recv().unwrap().unwrap().jpeg, Bytes::from_static(b"jpeg"));
        assert_eq!(request(&mut sprites).unwrap().0, 2);
        let failed = Report::Sprite { request: 2, tile_width: 0, tile_height: 0, drawn: 0, error: Some("none".into()) };
        assert!(sprites.heard(&failed, &Bytes::new()));
        assert_eq!(second.try_recv().unwrap(), Err(NoSprite::Impossible("none".to_owned())));
        assert_eq!(request(&mut sprites), None);
    }

    #[test]
    fn one_that_ends_its_worker_is_tried_once_more_and_holds_no_other_up() {
        let mut sprites = Sprites::default();
        let (mut bad, _good) = (want(&mut sprites, b"bad"), want(&mut sprites, b"good"));
        assert_eq!(request(&mut sprites).unwrap().0, 1);
        sprites.forget_request();
        assert_eq!(request(&mut sprites), Some((2, Bytes::from_static(b"avccbadavccbad"))));
        sprites.forget_request();
        assert!(matches!(bad.try_recv().unwrap(), Err(NoSprite::Impossible(_))));
        assert_eq!(request(&mut sprites), Some((3, Bytes::from_static(b"avccgoodavccgood"))));
    }

    #[test]
    fn what_is_being_made_for_nobody_keeps_the_next_one_waiting_and_no_longer() {
        let mut sprites = Sprites::default();
        let given_up = want(&mut sprites, b"slow");
        assert_eq!(request(&mut sprites).unwrap().0, 1);
        drop(given_up);
        let (unasked, mut again) = (want(&mut sprites, b"other"), want(&mut sprites, b"slow"));
        drop(unasked);
        assert_eq!(request(&mut sprites), None, "the worker takes one at a time");
        assert!(sprites.heard(&made(1), &Bytes::new()));
        assert_eq!(request(&mut sprites), Some((2, Bytes::from_static(b"avccslowavccslow"))));
        // The worker ends, and who asked has gone: it is not made once more.
        again.close();
        sprites.forget_request();
        assert_eq!(request(&mut sprites), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut sprites = Sprites::default();
        let _waiting: Vec<_> = (0..WAITING_MAX).map(|_| want(&mut sprites, b"x")).collect();
        let keyframe = Keyframe { record: Bytes::new(), frame: Bytes::from_static(b"x") };
        let over =
            |sprites: &mut Sprites, keyframes: Vec<Keyframe>| sprites.want(&keyframes, 5, (160, 90), channel().0);
        assert_eq!(over(&mut sprites, vec![keyframe.clone()]), Err(NoSprite::Busy));
        assert_eq!(over(&mut sprites, Vec::new()), Err(NoSprite::Large));
        assert_eq!(over(&mut sprites, vec![keyframe; TILES_MAX + 1]), Err(NoSprite::Large));
        let large = Keyframe { record: Bytes::new(), frame: vec![0; PAYLOAD_BYTES_MAX + 1].into() };
        assert_eq!(over(&mut sprites, vec![large]), Err(NoSprite::Large));
    }
}
