//! No kernel reads a byte beyond the slice: on both sides of the slice there is memory that faults
//! on access.
#![cfg(unix)]
#![allow(unsafe_code, reason = "maps memory")]

use castore_chunker::{ChunkParams, Kernel, cut_points};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::data::random;
use crate::differential::oracle;

/// Memory between two pages that fault on access.
struct Guarded {
    start: *mut u8,
    page: usize,
    len: usize,
}

impl Guarded {
    fn new(pages: usize) -> Guarded {
        let page = rustix::param::page_size();
        let len = pages * page;
        // SAFETY: this maps new memory, at an address that the system chooses; the pages around
        // `len` bytes in the middle of it are protected.
        unsafe {
            let both = ProtFlags::READ | ProtFlags::WRITE;
            let start: *mut u8 =
                mmap_anonymous(std::ptr::null_mut(), len + 2 * page, both, MapFlags::PRIVATE)
                    .unwrap()
                    .cast();
            mprotect(start.cast(), page, MprotectFlags::empty()).unwrap();
            mprotect(start.add(page + len).cast(), page, MprotectFlags::empty()).unwrap();
            Guarded { start, page, len }
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: these bytes are mapped for reading and writing, and are borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(self.page), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: this is exactly the mapped memory, and nothing borrows it any more.
        let _ = unsafe { munmap(self.start.cast(), self.len + 2 * self.page) };
    }
}

#[test]
fn no_kernel_reads_beyond_the_slice() {
    let mut guarded = Guarded::new(20);
    let bytes = guarded.bytes();
    bytes.copy_from_slice(&random(b"castore chunker guarded", bytes.len()));
    let len = bytes.len();
    let small = ChunkParams::new(64, 256, 1024).unwrap();
    let large = ChunkParams::new(64, 1 << 20, 1 << 22).unwrap();
    for kernel in Kernel::available() {
        for part in (0..300).chain((300..len).step_by(509)).chain(len - 300..=len) {
            for slice in [&bytes[..part], &bytes[len - part..]] {
                for params in [small, large] {
                    let cuts = cut_points(slice, params).with_kernel(kernel);
                    assert!(cuts.eq(oracle(slice, params)), "{kernel}, {part} bytes");
                }
            }
        }
    }
}
