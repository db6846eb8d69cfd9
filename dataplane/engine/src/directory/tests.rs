//! Updates of a directory: what comes, changes, goes, and cannot be taken.
use millstream_control_protocol::state::{Previous, Version};

use super::*;

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

fn stream(id: &str, generation: u64) -> Stream {
    Stream { id: id.to_owned(), generation, ..Stream::default() }
}

fn update(whole: bool, streams: Vec<Stream>, removed: &[&str]) -> Update {
    let from = (!whole).then(Version::default);
    Update { from, streams, removed: removed.iter().map(|&id| id.to_owned()).collect(), ..Update::default() }
}

fn ids(directory: &Directory) -> Vec<String> {
    let mut ids: Vec<_> =
        directory.records().iter().map(|(id, record)| format!("{id}@{}", record.generation)).collect();
    ids.sort();
    ids
}

#[test]
fn updates_add_change_and_remove() {
    let first = Directory::default().updated(&update(true, vec![stream("a", 1), stream("b", 1)], &[])).directory;
    let next = first.updated(&update(false, vec![stream("b", 2), stream("c", 1)], &["a", "never"]));
    assert_eq!(ids(&next.directory), ["b@2", "c@1"]);
    assert!(matches!(&next.changed, Changed::These(ids) if ids.len() == 4));
    let whole = next.directory.updated(&update(true, vec![stream("d", 1)], &[]));
    assert_eq!(ids(&whole.directory), ["d@1"]);
    assert!(matches!(whole.changed, Changed::Any));
    assert_eq!(ids(&first), ["a@1", "b@1"]);
}

#[test]
fn streams_of_the_configuration_stay_as_they_are() {
    let fixed = Stream { flush: Some(Flush::Low), ..stream("fixed", 7) };
    let directory = Directory::new([&fixed]);
    let whole = directory.updated(&update(true, vec![stream("fixed", 1), stream("a", 1)], &[])).directory;
    let gone = whole.updated(&update(false, vec![], &["fixed", "a"])).directory;
    assert_eq!((ids(&whole), ids(&gone)), (vec!["a@1".to_owned(), "fixed@7".to_owned()], vec!["fixed@7".to_owned()]));
    assert_eq!(gone.settings(&id("fixed")).flush, Some(FlushPolicy::Low));
}

#[test]
fn settings_go_with_their_stream() {
    let outputs = Outputs { flv: false, ..Outputs::default() };
    let set = Stream { flush: Some(Flush::Dense), outputs, ..stream("a", 1) };
    let first = Directory::default().updated(&update(false, vec![set, stream("b", 1)], &[])).directory;
    assert_eq!(first.settings(&id("a")), Settings { flush: Some(FlushPolicy::Dense), outputs, ..Settings::default() });
    assert_eq!(first.settings(&id("b")), Settings::default());
    let later = Stream { flush: Some(Flush::Unknown), ..stream("a", 1) };
    let next = first.updated(&update(false, vec![later], &[])).directory;
    assert_eq!(next.settings(&id("a")), Settings::default());
    assert!(next.streams.settings.is_empty());
    let slate = Some("ab".repeat(32));
    let slated = Stream { on_unpublish: Some(state::OnUnpublish::Slate), slate, ..stream("a", 1) };
    let settings = first.updated(&update(false, vec![slated], &[])).directory.settings(&id("a"));
    assert_eq!((settings.on_unpublish, settings.slate), (Some(OnUnpublish::Slate), Some(SlateKey([0xAB; 32]))));
}

#[test]
fn what_is_recorded_by_hand_is_told_beside_the_settings_and_counts_over_them() {
    let fixed = Stream { on_demand: true, on_demand_s: Some(6), ..stream("fixed", 1) };
    let directory = Directory::new([&fixed]);
    let tasks = vec![Task::by_hand("fixed", false, 7), Task::by_hand("nobodys", true, 8)];
    let change = Update { tasks, ..update(false, Vec::new(), &[]) };
    let told = directory.updated(&change);
    assert!(matches!(&told.changed, Changed::These(ids) if ids.len() == 2));
    let of = |directory: &Directory, name: &str| {
        let settings = directory.settings(&id(name));
        let by_hand = settings.by_hand;
        settings.recorded_by(by_hand).on_demand_s
    };
    assert_eq!((of(&told.directory, "fixed"), of(&told.directory, "nobodys")), (None, Some(60)));
    assert_eq!(told.directory.settings(&id("fixed")).recorded_by(None).on_demand_s, Some(6));
    let settled = vec![Task::by_hand_id("fixed"), "delete/1-a".to_owned()];
    let next = told.directory.updated(&Update { settled, ..update(false, Vec::new(), &[]) }).directory;
    assert_eq!((of(&next, "fixed"), of(&next, "nobodys")), (Some(6), Some(60)));
    // All of the state anew says nothing of it any more.
    let whole = next.updated(&update(true, Vec::new(), &[])).directory;
    assert_eq!((of(&whole, "fixed"), of(&whole, "nobodys")), (Some(6), None));
    let own = Stream { on_demand_s: Some(4), ..stream("own", 1) };
    let tasks = vec![Task::by_hand("own", true, 9)];
    let begun = whole.updated(&Update { tasks, ..update(false, vec![own], &[]) }).directory;
    assert_eq!(of(&begun, "own"), Some(4), "in objects as the stream has them");
}

#[test]
fn generations_in_grace_come_along() {
    let previous = vec![Previous { generation: 2, until_unix_s: 100 }];
    let rotated = Stream { previous, ..stream("a", 3) };
    let directory = Directory::default().updated(&update(true, vec![rotated], &[])).directory;
    let record = directory.records().get(&id("a")).unwrap();
    assert_eq!(record.in_force(99).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(record.in_force(100).collect::<Vec<_>>(), [3]);
}

#[test]
fn what_cannot_be_taken_is_left_out_and_said() {
    let bad = (0..100).map(|n| stream(&format!("../{n}"), 1));
    let updated = Directory::default().updated(&update(true, bad.chain([stream("a", 1)]).collect(), &["../x"]));
    assert_eq!(ids(&updated.directory), ["a@1"]);
    assert_eq!(updated.warnings.len(), WARNINGS_MAX);
    assert!(updated.warnings[0].contains("\"../0\" is left out: the name has a character"), "{:?}", updated.warnings);
}
