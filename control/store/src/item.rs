//! What is kept: an item has a kind, a key, a version and a value, and may have an expiry. Each maximum is here.

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 512;
/// Bytes of a value; DynamoDB takes 400 KB for an item with its key.
pub const VALUE_BYTES_MAX: usize = 256 << 10;
/// Items of one page.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// Bytes of the values of one page: it ends before the item that would pass this, and has one item at least.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(VALUE_BYTES_MAX <= PAGE_BYTES_MAX);

/// Changes of one transaction; DynamoDB takes 100.
pub const TRANSACTION_CHANGES_MAX: usize = 100;

/// What an item is about: the first part of its key. The name is what is stored, so it never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub &'static str);

/// A stored item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its key within its kind.
    pub key: String,
    /// Counts its writes: 1 for the first one.
    pub version: u64,
    /// From when on it may be purged, Unix milliseconds. It may still be read after that: the reader compares.
    pub expires_ms: Option<u64>,
    /// Its value, which the store does not look at.
    pub value: Vec<u8>,
}

/// What a write expects of the item as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is none.
    Absent,
    /// It is at this version.
    Version(u64),
    /// Nothing: write over whatever is there.
    Any,
}

impl Expect {
    /// Whether an item at this version (`None`: no item) is as expected.
    pub fn holds(self, current: Option<u64>) -> bool {
        match self {
            Self::Absent => current.is_none(),
            Self::Version(version) => current == Some(version),
            Self::Any => true,
        }
    }
}

/// One item to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// What it is about.
    pub kind: Kind,
    /// Its key within its kind, 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// What must be true of the item that is there.
    pub expect: Expect,
    /// From when on it may be purged, Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// At most [`VALUE_BYTES_MAX`] bytes.
    pub value: Vec<u8>,
}

/// One change of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Writes an item.
    Put(Write),
    /// Removes an item.
    Delete {
        /// What it is about.
        kind: Kind,
        /// Its key within its kind.
        key: String,
        /// What must be true of the item that is there; [`Expect::Any`] is content with none.
        expect: Expect,
    },
}

impl Change {
    /// Which item it changes.
    pub fn target(&self) -> (Kind, &str) {
        match self {
            Self::Put(write) => (write.kind, &write.key),
            Self::Delete { kind, key, .. } => (*kind, key),
        }
    }

    /// Whether an item at this version (`None`: no item) is as the change expects it.
    pub fn holds(&self, current: Option<u64>) -> bool {
        match self {
            Self::Put(write) => write.expect.holds(current),
            Self::Delete { expect, .. } => expect.holds(current),
        }
    }
}

/// Which way a page goes through the keys, which are ordered by their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// From the first key on.
    #[default]
    Ascending,
    /// From the last key back.
    Descending,
}

/// Which items a page is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Of this kind only.
    pub kind: Kind,
    /// Keys that begin so; empty for all.
    pub prefix: String,
    /// Behind this key (in the order asked for), which need not exist any more.
    pub after: Option<String>,
    /// Which way.
    pub order: Order,
    /// At most so many, cut to [`PAGE_ITEMS_MAX`]; fewer where their values pass [`PAGE_BYTES_MAX`].
    pub limit: usize,
}

impl Query {
    /// All items of a kind, from the first key on.
    pub fn all(kind: Kind) -> Self {
        Self { kind, prefix: String::new(), after: None, order: Order::Ascending, limit: PAGE_ITEMS_MAX }
    }
}

/// Some items in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// Where the next page starts ([`Query::after`]); `None` where there is nothing behind this one.
    pub next: Option<String>,
}

impl Page {
    /// The first of these items that fit into a page of `limit`.
    pub(crate) fn fill<E>(items: impl Iterator<Item = Result<Item, E>>, limit: usize) -> Result<Self, E> {
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let (mut page, mut bytes) = (Self::default(), 0);
        for item in items {
            let item = item?;
            bytes += item.value.len();
            if page.items.len() == limit || (bytes > PAGE_BYTES_MAX && !page.items.is_empty()) {
                page.next = page.items.last().map(|last| last.key.clone());
                break;
            }
            page.items.push(item);
        }
        Ok(page)
    }
}
