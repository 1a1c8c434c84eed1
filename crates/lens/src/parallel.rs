//! Many processes at once: what /proc says is worked out by the kernel while one waits for it, on any CPU.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// From as many items on a further thread is worth it.
const WORTH_A_THREAD: usize = 256;

/// `work` for each of the items, in their order.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    let part = items.len().div_ceil(threads).max(WORTH_A_THREAD);
    let work_on = &|part: &[T]| part.iter().map(&work).collect::<Vec<R>>();
    if items.len() <= part {
        return work_on(items);
    }
    thread::scope(|scope| {
        let begin = |part| thread::Builder::new().spawn_scoped(scope, move || work_on(part));
        // All are begun before one is waited for.
        let parts: Vec<_> = items.chunks(part).map(|part| (part, begin(part))).collect();
        let done = parts.into_iter().map(|(part, thread)| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // No more threads are allowed.
            Err(_) => work_on(part),
        });
        done.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays() {
        for count in [0, 1, 256, 257, 5000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(each(&items, |item| item + 1), (1..=count).collect::<Vec<_>>());
        }
    }
}
