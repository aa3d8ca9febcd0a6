//! What is asked and shown at the terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use ncfs::supervise::process::Killed;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testcloud::Fault;

use super::{files, password};
use crate::harness::{Fixture, USER, as_an_ordinary_user};

/// A program on a terminal of its own.
struct Terminal {
    program: Killed,
    screen: File,
    shown: String,
}

impl Terminal {
    fn start(fixture: &Fixture, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let terminal = pty.slave.as_raw_fd();
        let mut command = fixture.ncfs();
        command
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(pty.slave.try_clone().unwrap());
        // SAFETY: between fork and exec the closure makes two system calls, which are
        // async-signal-safe; the descriptor is open until after the spawn.
        unsafe {
            command.pre_exec(move || {
                if libc::setsid() < 0 || libc::ioctl(terminal, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let program = Killed(command.spawn().unwrap());
        Self { program, screen: pty.master.into(), shown: String::new() }
    }

    /// Reads until these words are shown; without any, to the end.
    #[track_caller]
    fn read_until(&mut self, words: &str) {
        let mut bytes = [0; 1024];
        while words.is_empty() || !self.shown.contains(words) {
            match self.screen.read(&mut bytes) {
                // EIO: the last program has closed its end.
                Ok(0) | Err(_) => break,
                Ok(count) => self.shown.push_str(&String::from_utf8_lossy(&bytes[..count])),
            }
        }
        assert!(self.shown.contains(words), "{words} is missing: {}", self.shown);
    }

    fn type_in(&mut self, text: &[u8]) {
        self.screen.write_all(text).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        self.read_until("");
        self.program.0.wait().unwrap().code()
    }
}

#[test]
fn a_password_is_asked_for_without_showing_it() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let url = fixture.cloud().url();
        let mut terminal = Terminal::start(&fixture, &["login", "--user", USER, &url]);
        terminal.read_until("Password of alice at 127.");
        terminal.type_in(b"login password\n");
        assert_eq!(terminal.end(), Some(0), "{}", terminal.shown);
        assert!(terminal.shown.contains("as alice"), "{}", terminal.shown);
        assert!(!terminal.shown.contains("login password"), "{}", terminal.shown);
        assert_eq!(password(&fixture).len(), 72);
    });
}

#[test]
fn ctrl_c_at_a_question_or_a_countdown_stores_nothing() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let url = fixture.cloud().url();
        for (arguments, words) in [
            (&["login", "--user", USER, &url][..], "Password of alice at"),
            (&["login", &url], "Waiting for you, 19:5"),
        ] {
            let mut terminal = Terminal::start(&fixture, arguments);
            terminal.read_until(words);
            terminal.type_in(b"\x03");
            assert_eq!(terminal.end(), Some(1), "{}", terminal.shown);
            assert!(terminal.shown.contains("stopped, nothing was stored"), "{}", terminal.shown);
        }
        assert!(files(&fixture).is_empty());
    });
}

#[test]
fn ctrl_c_after_the_grant_leaves_an_account_that_is_logged_in() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let url = fixture.cloud().url();
        let mut terminal = Terminal::start(&fixture, &["login", &url]);
        terminal.read_until("Waiting for you");
        let slow = Fault::on("GET", "/cloud/user").delay(Duration::from_secs(600));
        fixture.cloud().fault(slow).unwrap();
        let link = terminal.shown.split_whitespace().find(|word| word.starts_with("http"));
        assert!(fixture.cloud().grant_login(link.unwrap(), USER, USER));
        terminal.read_until("waiting for 127.");
        terminal.type_in(b"\x03");
        assert_eq!(terminal.end(), Some(1), "{}", terminal.shown);
        assert!(terminal.shown.contains("you are logged in, and the account is stored as alice@"));
        assert_eq!(files(&fixture).len(), 1);
    });
}

#[test]
fn a_command_that_takes_long_says_for_what_it_waits() {
    as_an_ordinary_user(|| {
        let fixture = Fixture::new();
        let url = fixture.cloud().url();
        let stopped = fixture.mount();
        let [daemon, _] = stopped.processes().map(Pid::from_raw);
        kill(daemon, Signal::SIGSTOP).unwrap();
        let mut status = Terminal::start(&fixture, &["status", "mnt"]);
        status.read_until("waiting for the daemon");
        kill(daemon, Signal::SIGCONT).unwrap();
        assert_eq!(status.end(), Some(0), "{}", status.shown);

        fixture
            .cloud()
            .fault(Fault::on("GET", "/status.php$").delay(Duration::from_secs(600)))
            .unwrap();
        let mut login = Terminal::start(&fixture, &["login", &url]);
        login.read_until("waiting for 127.");
    });
}
