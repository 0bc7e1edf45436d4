//! What a process has used, as Linux tells it.

use std::fs;
use std::time::Duration;

use super::Failure;

/// Linux counts in hundredths of a second (USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process and its threads, in user space and in the kernel.
pub fn processor_time(pid: u32) -> Result<Duration, Failure> {
    let unreadable = || Failure(format!("the processor time of process {pid} cannot be read"));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| unreadable())?;
    // The name stands in parentheses, and can hold anything.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(unreadable)?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let ticks = ticks.sum::<Result<u32, _>>().map_err(|_| unreadable())?;
    Ok(TICK.saturating_mul(ticks))
}

/// The most memory that a process ever held, in bytes.
pub fn peak_memory(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes.saturating_mul(1024))
        .ok_or_else(|| Failure(format!("the memory of process {pid} cannot be read")))
}
