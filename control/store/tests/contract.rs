//! What every store must do, and what the one in a file must survive.
use std::future::Future;
use std::sync::Arc;

use millstream_store::item::{
    Change, Expect, Item, KEY_BYTES_MAX, Kind, Order, PAGE_BYTES_MAX, Query, TRANSACTION_CHANGES_MAX, VALUE_BYTES_MAX,
    Write,
};
use millstream_store::memory::MemoryStore;
use millstream_store::sqlite::SqliteStore;
use millstream_store::{Store, StoreError};

mod contract {
    pub(crate) mod file;
}

pub(crate) const KIND: Kind = Kind("a");
const OTHER: Kind = Kind("b");

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn write(key: &str, expect: Expect, value: &str) -> Write {
    Write { kind: KIND, key: key.to_owned(), expect, expires_ms: None, value: value.into() }
}

/// Runs a part of the suite on each implementation.
fn each<F: Future<Output = ()>>(part: impl Fn(Arc<dyn Store>) -> F) {
    run(part(Arc::new(MemoryStore::new())));
    let dir = tempfile::tempdir().unwrap();
    run(part(Arc::new(SqliteStore::open(dir.path()).unwrap())));
}

fn keys(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.key.as_str()).collect()
}

#[test]
fn an_item_is_read_as_it_was_written_and_counts_its_writes() {
    each(|store| async move {
        assert_eq!(store.get(KIND, "k").await, Ok(None));
        assert_eq!(store.put(write("k", Expect::Absent, "one")).await, Ok(1));
        let expires = Write { expires_ms: Some(7), ..write("k", Expect::Version(1), "two") };
        assert_eq!(store.put(expires).await, Ok(2));
        let item = Item { key: "k".into(), version: 2, expires_ms: Some(7), value: b"two".to_vec() };
        assert_eq!(store.get(KIND, "k").await, Ok(Some(item)));
        assert_eq!(store.get(OTHER, "k").await, Ok(None), "kinds do not share keys");
        assert_eq!(store.put(write("k", Expect::Any, "three")).await, Ok(3));
        assert_eq!(store.get(KIND, "k").await.unwrap().unwrap().expires_ms, None);
    });
}

#[test]
fn a_write_that_expects_something_else_changes_nothing() {
    each(|store| async move {
        let conflict = |current| Err(StoreError::Conflict { current });
        assert_eq!(store.put(write("k", Expect::Version(1), "x")).await, conflict(None));
        assert_eq!(store.put(write("k", Expect::Absent, "one")).await, Ok(1));
        assert_eq!(store.put(write("k", Expect::Absent, "x")).await, conflict(Some(1)));
        assert_eq!(store.put(write("k", Expect::Version(2), "x")).await, conflict(Some(1)));
        assert_eq!(store.delete(KIND, "k", Expect::Version(2)).await, Err(StoreError::Conflict { current: Some(1) }));
        assert_eq!(store.get(KIND, "k").await.unwrap().unwrap().value, b"one");
        assert_eq!(store.delete(KIND, "k", Expect::Version(1)).await, Ok(()));
        assert_eq!(store.delete(KIND, "k", Expect::Version(1)).await, Err(StoreError::Conflict { current: None }));
        assert_eq!(store.delete(KIND, "k", Expect::Any).await, Ok(()));
        assert_eq!(store.put(write("k", Expect::Any, "again")).await, Ok(1));
    });
}

#[test]
fn of_writers_that_expect_the_same_one_wins() {
    each(|store| async move {
        store.put(write("k", Expect::Absent, "0")).await.unwrap();
        let waiting: Vec<_> = (0..50).map(|n| store.put(write("k", Expect::Version(1), &n.to_string()))).collect();
        let mut won = 0;
        for answer in waiting {
            match answer.await {
                Ok(version) => {
                    assert_eq!(version, 2);
                    won += 1;
                }
                Err(error) => assert_eq!(error, StoreError::Conflict { current: Some(2) }),
            }
        }
        assert_eq!(won, 1);
    });
}

#[test]
fn pages_go_through_all_items_in_order_both_ways() {
    each(|store| async move {
        let names = ["a/1", "a/2", "a/3", "a/é", "b/1", "Z"];
        for name in names {
            store.put(write(name, Expect::Absent, name)).await.unwrap();
        }
        store.put(Write { kind: OTHER, ..write("a/9", Expect::Absent, "other") }).await.unwrap();
        assert_eq!((store.count(KIND).await, store.count(OTHER).await), (Ok(6), Ok(1)));
        let all = store.page(Query::all(KIND)).await.unwrap();
        assert_eq!((keys(&all.items), all.next), (vec!["Z", "a/1", "a/2", "a/3", "a/é", "b/1"], None));
        for (order, expected) in
            [(Order::Ascending, ["a/1", "a/2", "a/3", "a/é"]), (Order::Descending, ["a/é", "a/3", "a/2", "a/1"])]
        {
            let mut query = Query { prefix: "a/".into(), limit: 2, order, ..Query::all(KIND) };
            let first = store.page(query.clone()).await.unwrap();
            assert_eq!(keys(&first.items), expected[..2]);
            query.after = first.next;
            assert_eq!(query.after.as_deref(), Some(expected[1]));
            // What a cursor names may be gone by then.
            let gone = store.get(KIND, expected[1]).await.unwrap().unwrap();
            store.delete(KIND, expected[1], Expect::Version(gone.version)).await.unwrap();
            let second = store.page(query).await.unwrap();
            assert_eq!((keys(&second.items), second.next), (expected[2..].to_vec(), None));
            store.put(write(expected[1], Expect::Absent, "back")).await.unwrap();
        }
        // A cursor from another place does not lead out of the prefix.
        for (order, after) in [(Order::Ascending, "Z"), (Order::Descending, "b/1")] {
            let query = Query { prefix: "a/".into(), after: Some(after.into()), order, ..Query::all(KIND) };
            assert_eq!(store.page(query).await.unwrap().items.len(), 4, "{order:?}");
        }
    });
}

#[test]
fn a_page_ends_where_its_values_are_a_mebibyte_and_the_next_one_goes_on() {
    each(|store| async move {
        let (value, keys_put) = ("v".repeat(VALUE_BYTES_MAX), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
        for key in &keys_put {
            store.put(write(key, Expect::Absent, &value)).await.unwrap();
        }
        for order in [Order::Ascending, Order::Descending] {
            let (mut found, mut query) = (Vec::new(), Query { order, ..Query::all(KIND) });
            loop {
                let page = store.page(query.clone()).await.unwrap();
                let bytes: usize = page.items.iter().map(|item| item.value.len()).sum();
                assert!((1..=PAGE_BYTES_MAX).contains(&bytes), "{bytes} bytes in a page");
                found.extend(page.items.into_iter().map(|item| item.key));
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            found.sort();
            assert_eq!(found, keys_put, "{order:?}");
        }
    });
}

#[test]
fn what_is_too_large_is_refused_and_what_is_hostile_is_text() {
    each(|store| async move {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let refused = store.put(write(&long, Expect::Any, "")).await;
        assert!(matches!(refused, Err(StoreError::Large { what: "the key", .. })), "{refused:?}");
        let refused = store.put(write("k", Expect::Any, &"v".repeat(VALUE_BYTES_MAX + 1))).await;
        assert!(matches!(refused, Err(StoreError::Large { what: "the value", .. })), "{refused:?}");
        for key in ["'; DROP TABLE item; --", "%", "_", "a\0b", "\"", "<script>", &"k".repeat(KEY_BYTES_MAX)] {
            store.put(write(key, Expect::Absent, key)).await.unwrap();
            assert_eq!(store.get(KIND, key).await.unwrap().unwrap().value, key.as_bytes());
            let query = Query { prefix: key.to_owned(), ..Query::all(KIND) };
            assert_eq!(keys(&store.page(query).await.unwrap().items), [key]);
        }
    });
}

#[test]
fn a_purge_takes_what_has_expired_and_nothing_else() {
    each(|store| async move {
        for (key, expires_ms) in [("a", Some(10)), ("b", Some(11)), ("c", None), ("d", Some(u64::MAX))] {
            store.put(Write { expires_ms, ..write(key, Expect::Absent, "") }).await.unwrap();
        }
        assert_eq!(store.purge(9).await, Ok(0));
        assert_eq!(store.purge(10).await, Ok(1));
        assert_eq!(store.purge(11).await, Ok(1));
        assert_eq!(keys(&store.page(Query::all(KIND)).await.unwrap().items), ["c", "d"]);
    });
}

#[test]
fn a_transaction_makes_all_of_its_changes_or_none() {
    each(|store| async move {
        store.put(write("there", Expect::Absent, "1")).await.unwrap();
        let put = |key: &str, expect| Change::Put(write(key, expect, "new"));
        let delete = |key: &str, expect| Change::Delete { kind: KIND, key: key.to_owned(), expect };
        let names = async || keys(&store.page(Query::all(KIND)).await.unwrap().items).join(" ");
        // The condition that does not hold is the last one, and the first one.
        let wrong = Err(StoreError::Conflict { current: Some(1) });
        assert_eq!(store.transact(vec![put("a", Expect::Absent), delete("there", Expect::Version(2))]).await, wrong);
        assert_eq!(store.transact(vec![put("there", Expect::Absent), put("a", Expect::Absent)]).await, wrong);
        let gone = store.transact(vec![put("a", Expect::Any), delete("never", Expect::Version(1))]).await;
        assert_eq!(gone, Err(StoreError::Conflict { current: None }));
        let long = "v".repeat(VALUE_BYTES_MAX + 1);
        let large = store.transact(vec![put("a", Expect::Any), Change::Put(write("b", Expect::Any, &long))]).await;
        assert!(matches!(large, Err(StoreError::Large { .. })), "{large:?}");
        let many: Vec<_> = (0..=TRANSACTION_CHANGES_MAX).map(|n| put(&n.to_string(), Expect::Any)).collect();
        assert!(matches!(store.transact(many).await, Err(StoreError::Large { .. })));
        assert_eq!(names().await, "there");
        let changes = vec![put("a", Expect::Absent), put("there", Expect::Version(1)), delete("never", Expect::Any)];
        assert_eq!(store.transact(changes).await, Ok(vec![1, 2, 0]));
        let changes = vec![delete("a", Expect::Version(1)), put("b", Expect::Any)];
        assert_eq!(store.transact(changes).await, Ok(vec![0, 1]));
        assert_eq!(names().await, "b there");
        assert_eq!(store.transact(Vec::new()).await, Ok(Vec::new()));
    });
}
