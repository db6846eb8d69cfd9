//! Which shard owns a stream. Derived from its id, not stored: no shard has to be told, and two publishers that arrive on two
//! shards at once meet on the same one.
use millstream_proto::id::Id;

/// The shard, of `shards`, that owns the stream for as long as the process runs.
pub fn owner(id: &Id, shards: usize) -> usize {
    id.place(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_and_stays() {
        let mut counts = [0; 4];
        for n in 0..4000 {
            let id = Id::new(&format!("camera-{n}")).unwrap();
            assert_eq!(owner(&id, 4), owner(&id, 4));
            counts[owner(&id, 4)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(owner(&Id::new("x").unwrap(), 1), 0);
    }
}
