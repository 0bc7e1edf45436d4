//! The resources that a process has used, as reported by Linux.

use std::fs;
use std::time::Duration;

use super::Failure;

/// The unit of CPU times: a hundredth of a second (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of a process and its threads, in user space and in the kernel.
///
/// # Errors
/// When it cannot be read.
pub fn cpu_time(pid: u32) -> Result<Duration, Failure> {
    let unreadable = || Failure(format!("cannot read the CPU time of process {pid}"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| unreadable())?;
    // The process's name is in parentheses and may contain any character.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(unreadable)?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let ticks = ticks.sum::<Result<u32, _>>().map_err(|_| unreadable())?;
    Ok(TICK.saturating_mul(ticks))
}

/// The peak memory of a process, in bytes.
///
/// # Errors
/// When it cannot be read.
pub fn peak_memory(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes.saturating_mul(1024))
        .ok_or_else(|| Failure(format!("cannot read the memory of process {pid}")))
}
