//! How much memory the process holds, and how much there is for it: asked at start and by the sweep of the first shard, for the order in
//! which an overloaded server refuses.
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that the process holds (`VmRSS`); `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes of memory that there are for the process: the machine's, or its control group's if that has fewer.
pub(crate) fn machine_bytes() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(group_bytes(Path::new("/")).map_or(machine, |group| group.min(machine)))
}

/// A place where control groups that count memory are shown.
#[derive(PartialEq, Eq, Debug)]
struct Mount {
    /// The group that is shown at `at`: a container may see its own group there, by the path that the host has for it.
    root: PathBuf,
    at: PathBuf,
    is_v2: bool,
}

/// The least limit of the process's control group and of those above it, of either version, as far as they are shown; `None`: there is none.
/// `root`: the system's.
fn group_bytes(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let (own, mounts) = (read("proc/self/cgroup")?, read("proc/self/mountinfo")?);
    let limits = mounts.lines().filter_map(mount).flat_map(|mount| {
        let group = own.lines().find_map(|line| path_of(line, mount.is_v2)).unwrap_or_default();
        // Outside of what is shown: the container's own group is all that is.
        let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new("")).to_owned();
        let file = if mount.is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        let at = mount.at.strip_prefix("/").unwrap_or(&mount.at).to_owned();
        let files: Vec<PathBuf> = below.ancestors().map(|group| root.join(&at).join(group).join(file)).collect();
        files
    });
    limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// The group that a line of `/proc/self/cgroup` names, if it is one that counts memory: `0::/PATH`, or `N:CONTROLLERS:/PATH`.
fn path_of(line: &str, is_v2: bool) -> Option<&str> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let counts =
        if is_v2 { number == "0" && controllers.is_empty() } else { controllers.split(',').any(|c| c == "memory") };
    counts.then_some(path)
}

/// A line of `/proc/self/mountinfo` (proc(5)), if it is one of control groups that count memory.
fn mount(line: &str) -> Option<Mount> {
    let (of_mount, of_type) = line.split_once(" - ")?;
    let mut fields = of_mount.split(' ').skip(3);
    let (root, at) = (PathBuf::from(fields.next()?), PathBuf::from(fields.next()?));
    let mut fields = of_type.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let is_v2 = kind == "cgroup2";
    (is_v2 || kind == "cgroup" && options.split(',').any(|option| option == "memory")).then_some(Mount {
        root,
        at,
        is_v2,
    })
}

/// The value of a line such as `VmRSS:    1234 kB`, bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_kilobytes() {
        assert_eq!(field("VmPeak:\t  9 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234 << 10));
        for bad in ["", "VmRSS:", "VmRSS: 12", "VmRSS: x kB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(field(bad, "VmRSS:"), None, "{bad}");
        }
    }

    /// A system of files: what they hold, by their paths.
    fn limit(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        group_bytes(root.path())
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    #[test]
    fn case_44_limits_of_control_groups_of_either_version_are_seen() {
        let check = |own: &str, mounts: &str, limits: &[(&str, &str)], expected: Option<u64>| {
            let files = [&[("proc/self/cgroup", own), ("proc/self/mountinfo", mounts)], limits].concat();
            assert_eq!(limit(&files), expected, "{own} {mounts} {limits:?}");
        };
        // Version 2: the process's own, and those above it.
        let v2 = "0::/system.slice/millstream.service\n";
        let (own, above) =
            ("sys/fs/cgroup/system.slice/millstream.service/memory.max", "sys/fs/cgroup/system.slice/memory.max");
        check(v2, V2, &[(own, "1000\n"), (above, "max\n")], Some(1_000));
        check(v2, V2, &[(own, "max\n"), (above, "500\n")], Some(500));
        check(v2, V2, &[(own, "max\n")], None);
        // A container with a namespace of its own sees itself as the root.
        check("0::/\n", V2, &[("sys/fs/cgroup/memory.max", "700\n")], Some(700));
        // Version 1: on its own, and beside a version 2 that counts no memory.
        let v1 = "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n";
        let own = "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        check(
            v1,
            V1,
            &[(own, "2000\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
            Some(2_000),
        );
        let hybrid = format!("{V1}38 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        check(v1, &hybrid, &[(own, "2000\n")], Some(2_000));
        // A container without a namespace: the host's path, of which only the container's own group is shown.
        let shown = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n";
        check(v1, shown, &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n")], Some(3_000));
        let elsewhere = "35 31 0:32 /docker/other /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n";
        check(v1, elsewhere, &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n")], Some(3_000));
        check("", "", &[], None);
        check("rubbish\n4:memory\n", "rubbish - \n - cgroup\n", &[], None);
    }

    #[test]
    fn a_process_holds_less_than_there_is() {
        let (held, all) = (resident_bytes().unwrap(), machine_bytes().unwrap());
        assert!(held > 0 && held < all, "{held} of {all}");
    }
}
