//! Lists objects in order of their keys and sweeps up temporary files. Before it: a page that is asked for; after it: the kernel's lists of
//! directories, which have no order.
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::tree::{self, Tree};
use crate::error::ObjectError;
use crate::key::Key;
use crate::key::is_segment;
use crate::limits::{PAGE_KEYS_MAX, SEGMENTS_MAX};
use crate::store::{Listed, Page};

/// One page.
pub(super) fn page(tree: &Tree, folder: Option<&Key>, after: Option<&Key>, limit: usize) -> Result<Page, ObjectError> {
    let limit = limit.clamp(1, PAGE_KEYS_MAX);
    let Some(at) = tree.walk(folder.iter().flat_map(|key| key.segments()))? else { return Ok(Page::default()) };
    let prefix = folder.map(|key| format!("{key}/")).unwrap_or_default();
    let mut walk = Walk { tree, after: after.map_or("", Key::as_str), wanted: limit + 1, objects: Vec::new() };
    walk.folder(&at, &prefix, prefix.split('/').count())?;
    Ok(Page::of(walk.objects, limit))
}

struct Walk<'a> {
    tree: &'a Tree,
    after: &'a str,
    wanted: usize,
    objects: Vec<Listed>,
}

impl Walk<'_> {
    /// Takes what comes behind `after` in this directory, until there is as much as wanted. The prefix ends with a slash.
    fn folder(&mut self, at: &OwnedFd, prefix: &str, depth: usize) -> Result<(), ObjectError> {
        if depth > SEGMENTS_MAX {
            return Ok(());
        }
        // Of directories with more entries than wanted the first ones are taken again and again, so that memory has a bound.
        let mut beyond = None;
        loop {
            let names = self.first_names(at, prefix, beyond.as_deref())?;
            let whole = names.len() < self.wanted;
            for name in &names {
                match name.strip_suffix('/') {
                    Some(name) => match tree::open_folder(at, name) {
                        Ok(below) => self.folder(&below, &format!("{prefix}{name}/"), depth + 1)?,
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                        Err(error) => return Err(self.cannot(prefix, error)),
                    },
                    None => self.object(at, prefix, name)?,
                }
                if self.objects.len() >= self.wanted {
                    return Ok(());
                }
            }
            if whole {
                return Ok(());
            }
            beyond = names.into_iter().next_back();
        }
    }

    /// The first names of a directory that may have something behind `after`, and are behind `beyond`: directories with a slash at their end,
    /// which is what their keys go on with, so that the order is that of keys.
    fn first_names(&self, at: &OwnedFd, prefix: &str, beyond: Option<&str>) -> Result<Vec<String>, ObjectError> {
        let mut first: BinaryHeap<String> = BinaryHeap::new();
        let cannot = |error: Errno| self.cannot(prefix, error);
        for entry in Dir::read_from(at).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| is_segment(name)) else { continue };
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                kind => kind,
            };
            let name = match kind {
                FileType::Directory => format!("{name}/"),
                FileType::RegularFile => name.to_owned(),
                _ => continue,
            };
            let path = format!("{prefix}{name}");
            let ahead = path.as_str() > self.after || (name.ends_with('/') && self.after.starts_with(&path));
            if ahead && beyond.is_none_or(|beyond| name.as_str() > beyond) {
                first.push(name);
                if first.len() > self.wanted {
                    first.pop();
                }
            }
        }
        Ok(first.into_sorted_vec())
    }

    fn object(&mut self, at: &OwnedFd, prefix: &str, name: &str) -> Result<(), ObjectError> {
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if tree::is_file(&stat) => stat,
            // Removed or replaced meanwhile.
            Ok(_) | Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.cannot(prefix, error)),
        };
        // A path of others may be too long for a key.
        if let Ok(key) = Key::parse(&format!("{prefix}{name}")) {
            let bytes = u64::try_from(stat.st_size).unwrap_or(0);
            self.objects.push(Listed { key, bytes, modified_ms: tree::modified_ms(&stat) });
        }
        Ok(())
    }

    fn cannot(&self, prefix: &str, error: Errno) -> ObjectError {
        self.tree.cannot(&format!("list /{prefix} in it"), &error.into())
    }
}

/// Removes temporary files that nobody has written to for so long.
pub(super) fn sweep(tree: &Tree, older_than: Duration) -> Result<u64, ObjectError> {
    let before_ms = super::now_ms().saturating_sub(older_than.as_millis() as u64);
    let mut removed = 0;
    sweep_folder(tree, &tree.root()?, before_ms, 1, &mut removed)?;
    Ok(removed)
}

fn sweep_folder(tree: &Tree, at: &OwnedFd, before_ms: u64, depth: usize, removed: &mut u64) -> Result<(), ObjectError> {
    let cannot = |error: Errno| tree.cannot("sweep up what was left behind", &error.into());
    for entry in Dir::read_from(at).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_temporary(name) {
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
            let old = stat.is_ok_and(|stat| tree::is_file(&stat) && tree::modified_ms(&stat) <= before_ms);
            if old && rustix::fs::unlinkat(at, name, AtFlags::empty()).is_ok() {
                *removed += 1;
            }
        } else if is_segment(name) && depth < SEGMENTS_MAX {
            // Not a directory, a link, or gone: nothing to sweep.
            if let Ok(below) = tree::open_folder(at, name) {
                sweep_folder(tree, &below, before_ms, depth + 1, removed)?;
            }
        }
    }
    Ok(())
}

/// Whether a put made this name: other files with such a first letter are somebody else's.
fn is_temporary(name: &str) -> bool {
    let digits = name.strip_prefix(tree::TEMPORARY).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
