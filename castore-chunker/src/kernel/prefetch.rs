//! Prefetches memory before it is needed.
#![allow(unsafe_code, reason = "there is no safe way to prefetch in stable Rust")]

/// Asks the processor to bring the cache line that is `offset` bytes after the first of `data` into
/// its caches. Does nothing if the target has no instruction for this. The line need not be within
/// `data`, nor be memory at all.
#[inline(always)]
pub(super) fn prefetch(data: &[u8], offset: usize) {
    let line = data.as_ptr().wrapping_add(offset);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint that reads nothing the program can see and faults on no address;
    // every x86-64 has SSE, which the instruction belongs to.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; PRFM is part of the base instruction set.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
