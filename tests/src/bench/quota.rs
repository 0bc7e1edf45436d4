//! A share of a processor, as Lambda gives it by memory: a control group with a quota.

use std::fs;
use std::path::{Path, PathBuf};

/// In microseconds. The quota holds for each period of this length.
const PERIOD: u64 = 20_000;

/// A control group. It is removed when this is dropped.
#[derive(Debug)]
pub struct Quota {
    /// The share of one processor.
    pub percent: u64,
    folder: PathBuf,
}

impl Quota {
    /// A group that may use so many percent of one processor; `None` where control groups cannot be made.
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

    /// The file that a process's number is written into to put it there.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Puts a running process there, with all its threads.
    ///
    /// # Errors
    /// When it cannot be put there.
    pub fn hold(&self, pid: u32) -> std::io::Result<()> {
        fs::write(self.processes(), pid.to_string())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // An error leaves an empty group behind, which does no harm.
        let _ = fs::remove_dir(&self.folder);
    }
}
