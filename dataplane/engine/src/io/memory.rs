//! How much memory the process holds, and how much there is for it: asked at start and by the sweep of the first shard, for the order in
//! which an overloaded server refuses.
use std::fs;
use std::path::Path;

/// Bytes of memory that the process holds (`VmRSS`); `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes of memory that there are for the process: the machine's, or its control group's if that has fewer.
pub(crate) fn machine_bytes() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(group_bytes().map_or(machine, |group| group.min(machine)))
}

/// The limit of the control group, and of those above it (cgroup v2).
fn group_bytes() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups = Path::new(path).ancestors().map(|group| Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
    groups.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
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

    #[test]
    fn a_process_holds_less_than_there_is() {
        let (held, all) = (resident_bytes().unwrap(), machine_bytes().unwrap());
        assert!(held > 0 && held < all, "{held} of {all}");
    }
}
