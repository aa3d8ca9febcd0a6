//! Faults: rules that spoil chosen requests.
//!
//! ```
//! use std::time::Duration;
//! use testcloud::{Action, Fault};
//!
//! // The third and fourth PUT below /work/ are carried out but never answered.
//! let lost = Fault::on("PUT", "/work/").after(2).times(2).action(Action::HangUpAfter);
//! // Everything takes 300 ms longer.
//! let slow = Fault::on("*", "").forever().delay(Duration::from_millis(300));
//! # drop((lost, slow));
//! ```

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::sync::lock;

/// One rule. The first rule that matches a request and is not used up is applied, and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A method, or `*`.
    pub method: String,
    /// A regular expression looked for anywhere in the decoded path; empty matches all.
    #[serde(default)]
    pub path: String,
    /// Matching requests that pass before the first is spoilt.
    #[serde(default)]
    pub after: u32,
    /// How many are spoilt; none is all of them. One by default.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Waited before anything else.
    #[serde(default)]
    pub delay_ms: u64,
    /// What happens then.
    #[serde(default)]
    pub action: Action,
}

/// How a request is spoilt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Not at all: only the delay counts.
    #[default]
    None,
    /// The body is read and thrown away, this is answered, nothing is done.
    Answer {
        /// The status.
        status: u16,
        /// Headers such as `Retry-After`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// The body is read, the connection closed; nothing is done.
    HangUpBefore,
    /// The request is carried out and the connection closed without an answer: a lost answer.
    HangUpAfter,
    /// The request's body ends after that many bytes as if the client had gone, then the connection
    /// is closed. Over an existing file this destroys it (FACTS 0.2).
    CutRequest {
        /// Bytes of the body that arrive.
        bytes: u64,
    },
    /// The answer's body ends after that many bytes and the connection is closed.
    CutResponse {
        /// Bytes of the body that are sent.
        bytes: u64,
    },
    /// The request is carried out and answered with this `ETag` and `OC-ETag`, or without any.
    Etag {
        /// The whole header value, quotes included.
        value: Option<String>,
    },
}

#[expect(clippy::unnecessary_wraps, reason = "serde needs the field's type")]
fn once() -> Option<u32> {
    Some(1)
}

impl Fault {
    /// A rule for one request with this method (`*` for any) whose decoded path matches the regular
    /// expression `path`. It does nothing until it is given an action or a delay.
    #[must_use]
    pub fn on(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            after: 0,
            times: once(),
            delay_ms: 0,
            action: Action::None,
        }
    }

    /// Sets what happens.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// Answers with a status and an empty body.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        self.action(Action::Answer { status, headers: BTreeMap::new(), body: String::new() })
    }

    /// Adds a header to the answer of [`Self::status`].
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Action::Answer { headers, .. } = &mut self.action {
            headers.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.after = requests;
        self
    }

    /// Spoils so many requests.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.times = Some(requests);
        self
    }

    /// Spoils every matching request.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    /// Waits before anything else.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }
}

#[derive(Default)]
pub(crate) struct FaultPlan(Mutex<Vec<(Fault, Regex)>>);

impl FaultPlan {
    /// The error tells what is wrong with the regular expression.
    pub(crate) fn add(&self, fault: Fault) -> Result<(), String> {
        let path = Regex::new(&fault.path).map_err(|error| error.to_string())?;
        lock(&self.0).push((fault, path));
        Ok(())
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The rules with what is left of their counts.
    pub(crate) fn list(&self) -> Vec<Fault> {
        lock(&self.0).iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// The rule for this request, counted down.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let mut faults = lock(&self.0);
        for (fault, regex) in faults.iter_mut() {
            let matches = (fault.method == "*" || fault.method == method) && regex.is_match(&path);
            if !matches || fault.times == Some(0) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            return Some(fault.clone());
        }
        None
    }
}
