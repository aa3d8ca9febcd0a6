//! How far a flush is: a bar on a terminal, a line now and then elsewhere. And what is waited for.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::quantity::{files, size};
use crate::control::Progress;
use crate::server_url::ServerUrl;

/// Without a terminal, one line in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress on stderr. Nothing is shown for what is done at once.
pub struct Display {
    label: String,
    bar: Option<ProgressBar>,
    began: Instant,
    last_line: Instant,
    most: u64,
}

impl Display {
    pub fn new(label: String) -> Self {
        let now = Instant::now();
        Self { label, bar: None, began: now, last_line: now, most: 0 }
    }

    pub fn show(&mut self, progress: Progress) {
        if progress.files_left == 0 || self.began.elapsed() < Duration::from_millis(200) {
            return;
        }
        let left = format!("{}, {} left", files(progress.files_left), size(progress.bytes_left));
        if !console_is_terminal() {
            if self.last_line.elapsed() >= INTERVAL {
                eprintln!("{}: {left}", self.label);
                self.last_line = Instant::now();
            }
            return;
        }
        // Bytes where there are any; a rename has none. More may come while programs go on writing.
        let (left_units, total_units) = if progress.bytes_total > 0 {
            (progress.bytes_left, progress.bytes_total)
        } else {
            (progress.files_left, progress.files_total)
        };
        self.most = self.most.max(total_units).max(left_units);
        let label = &self.label;
        let bar = self.bar.get_or_insert_with(|| new_bar(label));
        bar.set_length(self.most);
        bar.set_position(self.most - left_units);
        bar.set_message(left);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How long nothing is said.
const SILENCE: Duration = Duration::from_secs(1);

/// Something that a person waits for: it is named on a terminal if it lasts, until this is dropped.
pub struct Waiting(#[expect(dead_code, reason = "its drop tells the thread")] Option<Sender<()>>);

impl Waiting {
    pub fn for_server(server: &ServerUrl) -> Self {
        Self::new(format!("waiting for {}; Ctrl-C stops it", server.host()))
    }

    pub fn for_daemon() -> Self {
        Self::new("waiting for the daemon; Ctrl-C stops it".to_owned())
    }

    fn new(text: String) -> Self {
        if !console_is_terminal() {
            return Self(None);
        }
        let (end, ended) = channel::<()>();
        std::thread::spawn(move || {
            if ended.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("ncfs: {text}");
            }
        });
        Self(Some(end))
    }
}

fn console_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

fn new_bar(label: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The template is constant; were it wrong, the plain style would do.
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(label.to_owned());
    bar
}
