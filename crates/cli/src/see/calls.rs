//! What a system call waits for, in the words of somebody who has never heard of it; section 2 of the manual.

/// `None` for those that hardly ever keep anybody waiting.
pub(super) fn waits_for(call: &str) -> Option<&'static str> {
    Some(match call {
        "futex" | "futex_wait" | "futex_waitv" => "another thread, or process, to let it go on",
        "nanosleep" | "clock_nanosleep" => "time to pass",
        "wait4" | "waitid" => "a child to end",
        "read" | "readv" | "pread64" | "recvfrom" | "recvmsg" | "recvmmsg" => "something to read",
        "write" | "writev" | "pwrite64" | "sendto" | "sendmsg" => "room to write",
        "poll" | "ppoll" | "select" | "pselect6" => "one of several files to be ready, or time",
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => "one of many files to be ready, or time",
        "io_uring_enter" => "input or output that it has ordered",
        "accept" | "accept4" => "somebody to connect",
        "connect" => "the other side to answer",
        "rt_sigsuspend" | "pause" | "rt_sigtimedwait" => "a signal",
        "flock" | "fcntl" => "a lock on a file",
        "openat" | "open" | "openat2" => {
            "a file to open, such as a pipe that nobody holds at the other end"
        }
        "fsync" | "fdatasync" | "sync" | "sync_file_range" => "the disk",
        "msgrcv" | "mq_timedreceive" => "a message",
        "semop" | "semtimedop" => "a semaphore",
        "restart_syscall" => "what it was waiting for before it was halted",
        _ => return None,
    })
}
