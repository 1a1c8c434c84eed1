//! Proof, in test builds only, that the child allocates nothing between clone3 and execve.
#![allow(unsafe_code)]

/// Marks this process as the child; from here on the test build's allocator aborts.
pub(crate) fn entered_child() {
    #[cfg(feature = "trial")]
    guard::IN_CHILD.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Does what the child must never do, so that a test can see the guard at work.
pub(crate) fn allocate() {
    drop(std::hint::black_box(Box::new(0_u8)));
}

#[cfg(feature = "trial")]
mod guard {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(super) static IN_CHILD: AtomicBool = AtomicBool::new(false);

    struct Guard;

    fn check() {
        if IN_CHILD.load(Ordering::Relaxed) {
            let _ = crate::sys::write(2, b"trial: the child touched the allocator\n");
            std::process::abort(); // PID 1 ignores its own SIGABRT; abort(3) then ends it the hard way
        }
    }

    // SAFETY: every call is passed on to the system's allocator unchanged.
    unsafe impl GlobalAlloc for Guard {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            check();
            // SAFETY: the caller's promise about the layout is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            check();
            // SAFETY: the pointer came from `alloc` above.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    #[global_allocator]
    static GUARD: Guard = Guard;
}
