//! CPU quotas by control group. Lambda gives a function a share of a CPU that depends on its memory.

use std::fs;
use std::path::{Path, PathBuf};

/// The period of the quota, in microseconds.
const PERIOD: u64 = 20_000;

/// A control group with a CPU quota. It is removed when this is dropped.
#[derive(Debug)]
pub struct Quota {
    /// The percentage of one CPU.
    pub percent: u64,
    folder: PathBuf,
}

impl Quota {
    /// Creates a group that may use `percent` of one CPU. `None` if control groups cannot be created.
    pub fn percent(percent: u64) -> Option<Self> {
        let name = format!("payment-functions-{}-{percent}", std::process::id());
        let quota = PERIOD * percent / 100;
        let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let folder = Path::new(if is_v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/cpu" }).join(name);
        fs::create_dir(&folder).ok()?;
        let group = Self { percent, folder };
        let set = |file: &str, value: String| fs::write(group.folder.join(file), value);
        if is_v2 {
            set("cpu.max", format!("{quota} {PERIOD}")).ok()?;
        } else {
            set("cpu.cfs_period_us", PERIOD.to_string()).ok()?;
            set("cpu.cfs_quota_us", quota.to_string()).ok()?;
        }
        Some(group)
    }

    /// The file that process ids are written to in order to add them to the group.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Moves a running process into the group, with all its threads.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn limit(&self, pid: u32) -> std::io::Result<()> {
        fs::write(self.processes(), pid.to_string())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // An error leaves an empty group behind, which is harmless.
        let _ = fs::remove_dir(&self.folder);
    }
}
