//! Memory and processor time of a function, as Linux reports them in `/proc`.

use std::time::Duration;

use super::Function;

impl Function {
    /// The memory in use, in bytes.
    pub fn resident_memory(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The highest memory use so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The processor time of the threads that exist now.
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process_id()));
        let nanoseconds = threads.expect("a process").map(|thread| {
            let schedule = thread.expect("a thread").path().join("schedstat");
            // A thread can end in the meantime.
            let schedule = std::fs::read_to_string(schedule).unwrap_or_default();
            let time: Option<u64> = schedule
                .split(' ')
                .next()
                .and_then(|time| time.parse().ok());
            time.unwrap_or_default()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// The processor time of all threads so far, in clock ticks of the system.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process_id()));
        let stat = stat.expect("a process");
        // Fields 14 and 15 (proc_pid_stat(5)). The name before them can contain spaces.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let times = fields.split(' ').skip(11).take(2);
        times
            .map(|time| time.parse::<u64>().expect("a number"))
            .sum()
    }

    /// A size in `/proc/PID/status`, in bytes.
    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.expect("a size").trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }
}
