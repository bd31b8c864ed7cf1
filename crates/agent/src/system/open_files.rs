//! How many files a program may have open: more than the 1,024 that most are started with.
//!
//! An entry node that drains has a socket for each client that goes on through it. What the administrator allows at most stays the
//! bound.

use crate::limits::OPEN_FILES;

/// Lets the program open [`OPEN_FILES`] files, or as many as it may.
pub fn raise() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through both calls; the second only reads it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < OPEN_FILES {
            limit.rlim_cur = limit.rlim_max.min(OPEN_FILES);
            // It goes on with fewer.
            let _ = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_files_can_be_open_afterwards_unless_that_is_forbidden() {
        raise();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure lives through the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
        assert!(limit.rlim_cur >= OPEN_FILES.min(limit.rlim_max));
    }
}
