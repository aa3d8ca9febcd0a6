//! The pages of the book do what they show: each is worked through from the top by a shell in a home
//! of its own, with the real program and real mounts.
//!
//! What a page means to the test:
//!
//! - In a block that is fenced as `console`, a line that begins with `$ ` is a command, lines that
//!   begin with `> ` continue it, and what stands below is what it shows, stdout and stderr, to the
//!   letter. Only `...` stands for anything in its line, and alone in a line for any number of lines.
//! - A command succeeds, unless the next one is `echo $?`.
//! - `https://cloud.example.com` is the server of the test, `/home/alice` the home of the shell.
//! - The line of a block that is fenced as `fstab` is the only one in /etc/fstab from then on.
//! - Comments of HTML, which no reader sees, tell what happens elsewhere: [`page::Elsewhere`].
//! - Other blocks are not run.

mod page;
mod shell;

use std::os::unix::process::CommandExt;
use std::path::Path;

use self::page::{Elsewhere, Step, is_as_expected};
use self::shell::{Names, Shell};
use crate::harness::{
    Fixture, Machine, ORDINARY, USER, as_an_ordinary_user, noise, on_a_machine_of_its_own,
};

/// Works through a page. The machine is there for pages that change its fstab.
fn work_through(page: &str, fixture: &Fixture, machine: Option<&Machine>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let steps = page::read(&std::fs::read_to_string(path).unwrap());
    assert!(steps.iter().any(|(_, step)| matches!(step, Step::Run { .. })), "{page} runs nothing");
    fixture.cloud().add_user("bob", "bob's password").unwrap();
    let names = Names::of(fixture);
    let mut command = fixture.shell();
    if machine.is_some() {
        command.uid(ORDINARY).gid(ORDINARY);
    }
    let mut shell = Shell::start(command, fixture.path(".step"));
    let mut steps = steps.iter().peekable();
    let mut grant = None;
    while let Some((line, step)) = steps.next() {
        match step {
            Step::Run { command, expected } => {
                let script = names.real(command);
                let granted = grant.take();
                let ended = shell.run(&script, |output| {
                    let link = output.lines().map(str::trim).find(|line| line.contains("/flow/"));
                    link.is_some_and(|link| {
                        granted.is_some_and(|user| fixture.cloud().grant_login(link, user, user))
                    })
                });
                let (output, code) = ended.unwrap_or_else(|told| {
                    panic!("docs/{page}:{line}: `{command}` does not end; it told:\n{told}")
                });
                let output = names.shown(&output);
                assert!(
                    is_as_expected(expected, &output),
                    "docs/{page}:{line}: `{command}` shows something else:\n{output}"
                );
                let asks_code = |(_, step): &&(usize, Step)| matches!(step, Step::Run { command, .. } if command == "echo $?");
                let is_expected = code == 0 || steps.peek().is_some_and(asks_code);
                assert!(is_expected, "docs/{page}:{line}: `{command}` ends with {code}:\n{output}");
            }
            Step::Fstab(text) => {
                let machine = machine.expect("only a page with a machine of its own has an fstab");
                machine.fstab(&names.real(text));
            }
            Step::Elsewhere(Elsewhere::Grant(user)) => grant = Some(user.as_str()),
            Step::Elsewhere(Elsewhere::StopServer) => fixture.stop_server(),
            Step::Elsewhere(Elsewhere::StartServer) => fixture.restart_server(),
            Step::Elsewhere(Elsewhere::Write { path, text }) => {
                fixture.upload(path, format!("{text}\n").as_bytes());
            }
            Step::Elsewhere(Elsewhere::Make { path, mib }) => {
                fixture.upload(path, &noise(1, mib << 20));
            }
            Step::Elsewhere(Elsewhere::Quota(mib)) => {
                fixture.cloud().set_quota(USER, mib.map(|mib| mib << 20));
            }
        }
    }
}

/// One test for each page, as an ordinary user.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        $(#[test]
        fn $test() {
            as_an_ordinary_user(|| work_through($page, &Fixture::with_empty_home(), None));
        })*

        /// All that are run, with the one that is below.
        const RUN: &[&str] = &[$($page,)* "howto/fstab.md"];
    };
}

pages! {
    the_tutorial_does_what_it_shows: "tutorial.md",
    the_page_on_accounts_does_what_it_shows: "howto/accounts.md",
    the_page_on_big_files_does_what_it_shows: "howto/big-files.md",
    the_page_on_working_offline_does_what_it_shows: "howto/offline.md",
    the_page_on_conflicts_does_what_it_shows: "howto/conflicts.md",
    the_page_on_what_the_server_refuses_does_what_it_shows: "howto/refused.md",
    the_page_on_rescuing_does_what_it_shows: "howto/rescue.md",
}

#[test]
fn the_page_on_fstab_does_what_it_shows() {
    on_a_machine_of_its_own(|machine| {
        let fixture = Fixture::with_empty_home();
        machine.give_home(&fixture.path(""));
        work_through("howto/fstab.md", &fixture, Some(machine));
    });
}

#[test]
fn no_page_with_commands_is_left_out() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for directory in ["", "howto", "reference"] {
        for entry in std::fs::read_dir(docs.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let page = path.strip_prefix(&docs).unwrap().to_str().unwrap();
            if page.ends_with(".md") && !RUN.contains(&page) {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(!text.contains("```console"), "{page} has commands that nobody runs");
            }
        }
    }
}
