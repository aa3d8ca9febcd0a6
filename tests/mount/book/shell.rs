//! The shell that works through a page, and the names that it has for what the page names.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::Fixture;

/// Nothing on a page takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(90);

/// What follows the output of each command.
const MARK: &str = "\nthe command has ended with ";

/// One bash for a whole page: directories and variables stay.
pub struct Shell {
    bash: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Where the command that runs stands.
    script: PathBuf,
    last_code: i32,
}

impl Shell {
    pub fn start(mut command: Command, script: PathBuf) -> Self {
        let (mut reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut bash = command.spawn().unwrap();
        // Its copies of the writing end would keep the pipe open.
        drop(command);
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let input = bash.stdin.take().unwrap();
        Self { bash, input, output, script, last_code: 0 }
    }

    /// Runs a command and gives what it told and its exit code; only what it told if it does not end.
    /// `watch` sees what it has told so far until it says that it has seen enough.
    pub fn run(
        &mut self,
        script: &str,
        mut watch: impl FnMut(&str) -> bool,
    ) -> Result<(String, i32), String> {
        std::fs::write(&self.script, script).unwrap();
        let path = self.script.display();
        // Its input is not ours, and `$?` is what the command before has left.
        let line =
            format!("(exit {}); . {path} </dev/null; printf '{MARK}%s\\n' $?\n", self.last_code);
        self.input.write_all(line.replace(MARK, &MARK.replace('\n', "\\n")).as_bytes()).unwrap();
        let mut told = Vec::new();
        let mut is_watched = true;
        loop {
            let text = String::from_utf8_lossy(&told);
            if let Some((output, code)) = text.split_once(MARK)
                && let Some(code) = code.strip_suffix('\n')
            {
                self.last_code = code.parse().unwrap();
                return Ok((output.to_owned(), self.last_code));
            }
            if is_watched && text.ends_with('\n') {
                is_watched = !watch(&text);
            }
            match self.output.recv_timeout(PATIENCE) {
                Ok(more) => told.extend(more),
                Err(_) => return Err(text.into_owned()),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}

/// What a page calls something, and what it is in the test; the longer ones first.
pub struct Names(Vec<(&'static str, String)>);

impl Names {
    pub fn of(fixture: &Fixture) -> Self {
        let url = fixture.cloud().url();
        let authority = url.strip_prefix("http://").unwrap().to_owned();
        let host = authority.split(':').next().unwrap().to_owned();
        let home = fixture.path("").display().to_string().trim_end_matches('/').to_owned();
        Self(vec![
            ("https://cloud.example.com", url),
            // The name of a state directory.
            ("cloud.example.com-alice", authority.replace(':', "-") + "-alice"),
            ("cloud.example.com", authority),
            ("cloud.example.com", host),
            ("/home/alice", home),
        ])
    }

    pub fn real(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    pub fn shown(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(real, shown))
    }
}
