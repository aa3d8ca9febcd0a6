//! Waiting until the person has granted access.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::failure::{ExitCode, Failure};
use crate::remote::Credential;
use crate::remote::nextcloud::login::{Flow, LoginError, Outcome};

/// Between two questions to the server.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks whether it has forgotten the login.
const LOOK: Duration = Duration::from_secs(5);
/// Without a terminal, one line in this time.
const LINE: Duration = Duration::from_secs(5 * 60);

/// Waits for the credential: until it is granted, denied, over, or somebody stops us.
pub async fn wait_for_grant(flow: &Flow, patience: Duration) -> Result<Credential, Failure> {
    let failed = |error| Failure::new(ExitCode::Other, error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let refused = |sentence: &str| Failure::new(ExitCode::Credentials, sentence);
    tokio::select! {
        granted = granted(flow) => granted?.ok_or_else(|| refused(
            "the server knows this login no more: it was denied, or its time is over; nothing was \
             stored; to try again: ncfs login",
        )),
        () = count_down(Instant::now() + patience) => Err(refused(
            "nobody granted access in time; nothing was stored; to get a new link: ncfs login",
        )),
        _ = interrupt.recv() => Err(stopped()),
        _ = terminate.recv() => Err(stopped()),
    }
}

/// What is said to Ctrl-C.
pub fn stopped() -> Failure {
    let sentence = "stopped, nothing was stored; to log in, begin anew with ncfs login";
    Failure::new(ExitCode::Other, sentence)
}

/// The credential; `None` when the server has forgotten the login. A server that is away for a while
/// does not end it.
async fn granted(flow: &Flow) -> Result<Option<Credential>, LoginError> {
    let mut looked = Instant::now();
    loop {
        sleep(POLL).await;
        match flow.poll().await {
            Ok(Outcome::Granted(credential)) => return Ok(Some(credential)),
            Ok(Outcome::Pending) if looked.elapsed() >= LOOK => {
                if flow.is_over().await {
                    return Ok(None);
                }
                looked = Instant::now();
            }
            Ok(Outcome::Pending) => {}
            Err(error) if error.is_transient() => tracing::debug!(%error, "asked in vain"),
            Err(error) => return Err(error),
        }
    }
}

/// Shows what is left until the deadline, and returns at it.
async fn count_down(deadline: Instant) {
    let left = || deadline.saturating_duration_since(Instant::now());
    let text = || format!("Waiting for you, {}; Ctrl-C stops it", clock(left()));
    if std::io::stderr().is_terminal() {
        let line = Line::new();
        while !left().is_zero() {
            line.0.set_message(text());
            sleep(left().min(Duration::from_secs(1))).await;
        }
    } else {
        while !left().is_zero() {
            eprintln!("{}", text());
            sleep(left().min(LINE)).await;
        }
    }
}

/// A line of the terminal that is gone afterwards, however the wait ends.
struct Line(ProgressBar);

impl Line {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is constant; were it wrong, the plain style would do.
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `19:59 left`, rounded to whole seconds.
fn clock(left: Duration) -> String {
    let seconds = left.as_secs_f64().round() as u64;
    format!("{}:{:02} left", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shown_as_a_clock_shows_it() {
        assert_eq!(clock(Duration::from_secs(1200)), "20:00 left");
        assert_eq!(clock(Duration::from_millis(61_400)), "1:01 left");
        assert_eq!(clock(Duration::from_millis(400)), "0:00 left");
    }
}
