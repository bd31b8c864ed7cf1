//! The host's monotonic clock as a number: one that several programs of the host can compare, which [`std::time::Instant`] does not
//! give.

/// Microseconds of `CLOCK_MONOTONIC`, since some moment before the host was started.
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer lives through the call. This clock is always there, so the call can't fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let first = monotonic_us();
        assert!(first > 0 && monotonic_us() >= first);
    }
}
