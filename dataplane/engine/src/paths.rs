//! Which paths of other servers lead to which stream. Before it: [`crate::directory`], which is told of streams; after it: the ingest and the
//! router of the HTTP port look requests up.
//!
//! The maps do not change: a change of a stream that has paths makes new ones, beside the shards.
use std::collections::HashMap;
use std::sync::Arc;

use millstream_control_protocol::state::Stream;
use millstream_policy::table::Table;
use millstream_proto::id::Id;
use millstream_proto::limits::PATHS_MAX;
use millstream_proto::output::Output;
use millstream_proto::paths::{self, PathError};
use millstream_proto::query::percent_decode;

/// The paths of one stream, as they are looked up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Own {
    push: Vec<String>,
    play: Vec<(String, &'static Output)>,
}

impl Own {
    /// Those of a stream of the link; what cannot be taken is left out, and said.
    pub(crate) fn of(stream: &Stream, mut complain: impl FnMut(String)) -> Self {
        let mut wrong = |path: &str, error: PathError| {
            let shown: String = path.chars().take(64).collect();
            complain(format!("the path {shown:?} of stream {} is left out: {error}", stream.id));
        };
        let push = stream.push_paths.iter().take(PATHS_MAX);
        let play = stream.play_paths.iter().take(PATHS_MAX);
        Self {
            push: push.filter_map(|path| paths::push(path).inspect_err(|error| wrong(path, *error)).ok()).collect(),
            play: play.filter_map(|path| paths::play(path).inspect_err(|error| wrong(path, *error)).ok()).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.push.is_empty() && self.play.is_empty()
    }
}

/// The paths of all streams. Cheap to clone.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Paths {
    of: Table<Arc<Own>>,
    push: Arc<HashMap<String, Id>>,
    play: Arc<HashMap<String, (Id, &'static Output)>>,
}

impl Paths {
    /// These with the paths of some streams changed.
    pub(crate) fn with<'a>(&self, changes: impl IntoIterator<Item = (&'a Id, Option<&'a Own>)>) -> Self {
        let mut next = self.clone();
        let mut owners = Vec::new();
        for (id, own) in changes {
            let own = own.filter(|own| !own.is_empty());
            let before = self.of.get(id);
            if before.map(|before| &**before) == own {
                continue;
            }
            // Most streams have none, and never come here.
            let (push, play) = (Arc::make_mut(&mut next.push), Arc::make_mut(&mut next.play));
            // By key: going through all paths for each of many streams would be quadratic. Another stream may have taken one over.
            for path in before.iter().flat_map(|before| &before.push) {
                if push.get(path).is_some_and(|owner| owner == id) {
                    push.remove(path);
                }
            }
            for (path, _) in before.iter().flat_map(|before| &before.play) {
                if play.get(path).is_some_and(|(owner, _)| owner == id) {
                    play.remove(path);
                }
            }
            if let Some(own) = own {
                push.extend(own.push.iter().map(|path| (path.clone(), id.clone())));
                play.extend(own.play.iter().map(|(path, output)| (path.clone(), (id.clone(), *output))));
            }
            owners.push((id.clone(), own.map(|own| Arc::new(own.clone()))));
        }
        if !owners.is_empty() {
            next.of = next.of.with(owners);
        }
        next
    }

    /// The stream that a client means by an application and a name, and the path that it said.
    pub(crate) fn pushed(&self, app: &str, name: &str) -> Option<(Id, String)> {
        if self.push.is_empty() {
            return None;
        }
        let path = if app.is_empty() { name.to_owned() } else { format!("{app}/{name}") };
        let found = self.push.get(percent_decode(&path).as_ref().unwrap_or(&path)).cloned();
        found.map(|id| (id, path))
    }

    /// The stream and the output that a player means by a path.
    pub(crate) fn played(&self, segments: &[String]) -> Option<(Id, &'static Output)> {
        if self.play.is_empty() {
            return None;
        }
        self.play.get(&paths::key(segments)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use millstream_proto::output;

    use super::*;

    fn own(push: &[&str], play: &[&str]) -> Own {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let stream = Stream { id: "a".into(), push_paths: owned(push), play_paths: owned(play), ..Stream::default() };
        Own::of(&stream, |warning| panic!("{warning}"))
    }

    #[test]
    fn case_56_paths_come_and_go_with_their_stream() {
        let (a, b) = (Id::new("a").unwrap(), Id::new("b").unwrap());
        let first = Paths::default()
            .with([(&a, Some(&own(&["live/my cam.1", "cam"], &["/live/a.flv"]))), (&b, Some(&own(&["live/b"], &[])))]);
        let pushed = |paths: &Paths, app: &str, name: &str| paths.pushed(app, name).map(|(id, _)| id.to_string());
        assert_eq!(pushed(&first, "live", "my cam.1").as_deref(), Some("a"));
        assert_eq!(pushed(&first, "live", "my%20cam.1").as_deref(), Some("a"));
        assert_eq!(pushed(&first, "", "cam").as_deref(), Some("a"));
        assert_eq!(pushed(&first, "live", "b").as_deref(), Some("b"));
        assert_eq!(pushed(&first, "live", "c"), None);
        let segments = ["live".to_owned(), "a.flv".to_owned()];
        assert_eq!(first.played(&segments), Some((a.clone(), &output::FLV)));
        let next = first.with([(&a, Some(&own(&["live/new"], &[]))), (&b, None)]);
        assert_eq!(pushed(&next, "live", "new").as_deref(), Some("a"));
        assert_eq!((pushed(&next, "live", "my cam.1"), pushed(&next, "live", "b")), (None, None));
        assert_eq!(next.played(&segments), None);
        let same = next.with([(&a, Some(&own(&["live/new"], &[])))]);
        assert!(Arc::ptr_eq(&same.push, &next.push), "what stays is shared");
    }

    #[test]
    fn what_is_wrong_is_left_out_and_said() {
        let stream = Stream { id: "a".into(), push_paths: vec!["/x".into(), "x".into()], ..Stream::default() };
        let mut said = Vec::new();
        let own = Own::of(&stream, |warning| said.push(warning));
        assert_eq!((own.push.len(), said.len()), (1, 1));
        assert!(said[0].contains("\"/x\" of stream a is left out"), "{said:?}");
    }
}
