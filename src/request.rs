//! The request of the kernel that the present work is done for.
//!
//! It is not an argument of every function on the way: only the first (`fuse`) and the last (what
//! notes a change as done) have to do with it.

tokio::task_local! {
    static PRESENT: RequestNumber;
}

/// The kernel's number of a request; it is not given to another one while the mount lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestNumber {
    pub number: u64,
    /// The kernel sends it once more, after the process died that had taken it: it may have been
    /// carried out.
    pub again: bool,
}

impl RequestNumber {
    /// Set in the number of a request that is sent once more (fuse.h, FUSE_UNIQUE_RESEND).
    const RESENT: u64 = 1 << 63;

    /// From the number as the kernel sends it.
    pub fn from_unique(unique: u64) -> Self {
        Self { number: unique & !Self::RESENT, again: unique & Self::RESENT != 0 }
    }

    /// Does work for this request.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        PRESENT.sync_scope(self, work)
    }

    /// Work that is done for this request whenever it goes on.
    pub fn throughout<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        PRESENT.scope(self, work)
    }

    /// The one that the caller works for.
    pub fn present() -> Option<Self> {
        PRESENT.try_with(|request| *request).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_sent_again_keeps_its_number() {
        let first = RequestNumber::from_unique(24);
        let again = RequestNumber::from_unique(0x8000_0000_0000_0018);
        assert_eq!(first, RequestNumber { number: 24, again: false });
        assert_eq!(again, RequestNumber { number: 24, again: true });
    }

    #[test]
    fn nobody_else_works_for_a_request() {
        let request = RequestNumber { number: 24, again: false };
        assert_eq!(request.during(RequestNumber::present), Some(request));
        assert_eq!(RequestNumber::present(), None);
    }
}
