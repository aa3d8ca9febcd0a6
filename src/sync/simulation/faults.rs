//! What goes wrong on the way to the server and back.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::remote::RemoteError;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and no answer comes.
    CutBefore,
    Locked,
    Error,
    SlowDown,
    Maintenance,
    /// It is carried out, and no answer comes.
    CutAfter,
    /// A PUT of which a part is stored, and no answer comes.
    Torn,
}

impl Fault {
    pub const ALL: [Fault; 7] = [
        Fault::CutBefore,
        Fault::Locked,
        Fault::Error,
        Fault::SlowDown,
        Fault::Maintenance,
        Fault::CutAfter,
        Fault::Torn,
    ];

    /// Whether it can happen to a request with this method.
    fn can_happen(self, method: &str) -> bool {
        match self {
            Fault::Torn => method == "PUT",
            _ => true,
        }
    }

    /// The answer, if the request is not carried out.
    pub fn refusal(self) -> Option<RemoteError> {
        Some(match self {
            Fault::CutBefore => RemoteError::NoAnswer("cut before".into()),
            Fault::Locked => RemoteError::Locked,
            Fault::Error => RemoteError::Status { status: 500, message: "oops".into() },
            Fault::SlowDown => RemoteError::TooManyRequests { retry_after: None },
            Fault::Maintenance => RemoteError::Unavailable {
                reason: "maintenance".into(),
                maintenance: true,
                retry_after: None,
            },
            Fault::CutAfter | Fault::Torn => return None,
        })
    }

    pub fn words(self) -> &'static str {
        match self {
            Fault::CutBefore => "never arrives, and there is no answer",
            Fault::Locked => "423, locked",
            Fault::Error => "500, nothing happened",
            Fault::SlowDown => "429",
            Fault::Maintenance => "503, maintenance",
            Fault::CutAfter => "is carried out, and the answer is lost",
            Fault::Torn => "stores half of it, and there is no answer",
        }
    }
}

/// What requests meet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// To how many of a hundred requests something happens.
    pub percent: u8,
    /// What; any of all if it is not said.
    pub what: Option<Fault>,
}

impl Weather {
    pub const CALM: Weather = Weather { percent: 0, what: None };

    pub const fn mixed(percent: u8) -> Self {
        Self { percent, what: None }
    }

    /// What becomes of a request.
    pub fn meets(self, method: &str, dice: &mut StdRng) -> Option<Fault> {
        if !dice.random_bool(f64::from(self.percent) / 100.0) {
            return None;
        }
        let fault = self.what.unwrap_or_else(|| Fault::ALL[dice.random_range(0..Fault::ALL.len())]);
        Some(if fault.can_happen(method) { fault } else { Fault::CutAfter })
    }
}
