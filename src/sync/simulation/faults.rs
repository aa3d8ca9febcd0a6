//! What goes wrong on the way to the server and back (FACTS 12 and 18).

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::remote::RemoteError;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Offline,
    /// Nothing happens, and no answer comes.
    CutBefore,
    /// It is carried out, and no answer comes.
    CutAfter,
    /// No answer comes, and it is carried out some time later: a proxy had held it. Where the server
    /// checks no conditions that could do any harm; there it is as [`Fault::CutAfter`].
    Late,
    /// A PUT of which a part is stored, and no answer comes.
    Torn,
    /// A listing or a file that ends in the middle.
    CutBody,
    /// A PUT whose answer tells a tag that nothing else tells.
    OtherTag,
    /// 404 to a look or a read of what is there: others replace files in two steps (FACTS 0.4).
    Missing,
    Locked,
    ErrorBefore,
    ErrorAfter,
    SlowDown,
    SlowDownFor,
    Unavailable,
    UnavailableFor,
    Maintenance,
    Unauthorized,
    Forbidden,
    Full,
}

/// How long a server that says so asks to wait.
const ASKED: Duration = Duration::from_secs(7);

impl Fault {
    /// What a request meets now and then.
    const NOW_AND_THEN: [Fault; 14] = [
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::CutAfter,
        Fault::Late,
        Fault::Torn,
        Fault::CutBody,
        Fault::OtherTag,
        Fault::Missing,
        Fault::Locked,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::SlowDown,
        Fault::Unavailable,
        Fault::Maintenance,
    ];

    /// What all requests meet for a while.
    const FOR_A_WHILE: [Fault; 10] = [
        Fault::Offline,
        Fault::CutBefore,
        Fault::ErrorBefore,
        Fault::SlowDown,
        Fault::SlowDownFor,
        Fault::UnavailableFor,
        Fault::Maintenance,
        Fault::Unauthorized,
        Fault::Forbidden,
        Fault::Full,
    ];

    /// Whether it can happen to a request with this method.
    fn can_happen(self, method: &str) -> bool {
        match self {
            Fault::Torn | Fault::OtherTag => method == "PUT",
            Fault::Full => method == "PUT" || method == "COPY",
            Fault::CutBody => method == "PROPFIND" || method == "GET",
            Fault::Missing => method == "PROPFIND0" || method == "GET",
            _ => true,
        }
    }

    /// The answer, if the request is not carried out.
    pub fn refusal(self) -> Option<RemoteError> {
        let unavailable = |maintenance, retry_after| {
            let reason = "not now".into();
            Some(RemoteError::Unavailable { reason, maintenance, retry_after })
        };
        match self {
            Fault::Offline => Some(RemoteError::Offline("no route".into())),
            Fault::CutBefore => Some(RemoteError::NoAnswer("cut before".into())),
            Fault::Missing => Some(RemoteError::NotFound),
            Fault::Locked => Some(RemoteError::Locked),
            Fault::ErrorBefore => Some(oops()),
            Fault::SlowDown => Some(RemoteError::TooManyRequests { retry_after: None }),
            Fault::SlowDownFor => Some(RemoteError::TooManyRequests { retry_after: Some(ASKED) }),
            Fault::Unavailable => unavailable(false, None),
            Fault::UnavailableFor => unavailable(false, Some(ASKED)),
            Fault::Maintenance => unavailable(true, None),
            Fault::Unauthorized => Some(RemoteError::Unauthorized),
            Fault::Forbidden => Some(RemoteError::Forbidden("not you".into())),
            Fault::Full => Some(RemoteError::Full("the quota is used up".into())),
            Fault::CutAfter
            | Fault::Late
            | Fault::Torn
            | Fault::CutBody
            | Fault::OtherTag
            | Fault::ErrorAfter => None,
        }
    }

    /// What comes instead of the answer to a request that was carried out.
    pub fn instead_of_answer(self) -> Option<RemoteError> {
        match self {
            Fault::CutAfter | Fault::Late => Some(RemoteError::NoAnswer("cut after".into())),
            Fault::ErrorAfter => Some(oops()),
            _ => None,
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Fault::Offline => "cannot be sent: offline",
            Fault::CutBefore => "never arrives, and there is no answer",
            Fault::CutAfter => "is carried out, and the answer is lost",
            Fault::Late => "is held by a proxy: no answer, and it is carried out later",
            Fault::Torn => "stores half of it, and there is no answer",
            Fault::CutBody => "is answered, and the answer is cut in the middle",
            Fault::OtherTag => "is carried out, and the answer tells a wrong tag",
            Fault::Missing => "404, though it is there",
            Fault::Locked => "423, locked",
            Fault::ErrorBefore => "500, nothing happened",
            Fault::ErrorAfter => "500, though it is carried out",
            Fault::SlowDown => "429",
            Fault::SlowDownFor => "429, asking for some seconds",
            Fault::Unavailable => "503",
            Fault::UnavailableFor => "503, asking for some seconds",
            Fault::Maintenance => "503, maintenance",
            Fault::Unauthorized => "401",
            Fault::Forbidden => "403",
            Fault::Full => "507, the quota is used up",
        }
    }
}

fn oops() -> RemoteError {
    RemoteError::Status { status: 500, message: "oops".into() }
}

/// What requests meet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// To how many of a hundred requests something happens.
    pub percent: u8,
    /// What; any of what happens now and then if it is not said.
    pub what: Option<Fault>,
}

impl Weather {
    pub const CALM: Weather = Weather { percent: 0, what: None };

    pub const fn mixed(percent: u8) -> Self {
        Self { percent, what: None }
    }

    pub const fn only(what: Fault) -> Self {
        Self { percent: 100, what: Some(what) }
    }

    pub fn some(rng: &mut StdRng) -> Self {
        let among = |from: &[Fault], rng: &mut StdRng| from[rng.random_range(0..from.len())];
        match rng.random_range(0..10) {
            0 | 1 => Self::CALM,
            2..=4 => Self::mixed(5),
            5 | 6 => Self::mixed(25),
            7 => Self { percent: 30, what: Some(among(&Fault::NOW_AND_THEN, rng)) },
            _ => Self::only(among(&Fault::FOR_A_WHILE, rng)),
        }
    }

    /// What becomes of a request.
    pub fn meets(self, method: &str, dice: &mut StdRng) -> Option<Fault> {
        if !dice.random_bool(f64::from(self.percent) / 100.0) {
            return None;
        }
        let any = Fault::NOW_AND_THEN[dice.random_range(0..Fault::NOW_AND_THEN.len())];
        match self.what {
            Some(fault) => Some(fault).filter(|fault| fault.can_happen(method)),
            None if any.can_happen(method) => Some(any),
            None => Some(Fault::CutAfter),
        }
    }

    pub fn words(self) -> String {
        match (self.percent, self.what) {
            (0, _) => "all is well with the network".to_owned(),
            (percent, None) => format!("something happens to {percent} % of the requests"),
            (percent, Some(what)) => format!("each of {percent} % of requests {}", what.words()),
        }
    }
}
