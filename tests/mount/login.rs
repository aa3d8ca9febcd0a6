//! `ncfs login`, `logout` and `accounts`, and mounting what they stored.

mod browser;
mod refusals;
mod terminal;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use ncfs::supervise::process::Killed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Fixture, Mount, USER, eventually, for_both};

for_both!(
    a_login_is_stored_for_its_owner_alone_mounts_and_ends_with_its_logout,
    a_new_login_revokes_the_former_password_and_heals_what_is_mounted,
    a_login_password_is_exchanged_for_an_app_password_and_an_app_password_is_kept,
    addresses_that_the_server_returns_without_the_port_are_put_on_the_one_given,
    of_several_accounts_at_one_address_the_one_that_is_meant_has_to_be_named,
    without_the_server_a_logout_keeps_the_account_unless_it_is_forced,
);

/// A login that has shown its link.
pub struct Login {
    program: Killed,
    stderr: BufReader<std::process::ChildStderr>,
    told: String,
    pub link: String,
}

impl Login {
    #[track_caller]
    pub fn start(fixture: &Fixture, options: &[&str]) -> Self {
        let url = fixture.cloud().url();
        let mut command = fixture.ncfs();
        command.args(["login", "--no-browser"]).args(options).arg(url);
        let program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut program = Killed(program.unwrap());
        let mut stderr = BufReader::new(program.0.stderr.take().unwrap());
        let mut told = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no link: {told}");
            told.push_str(&line);
            let link = line.trim();
            if link.starts_with("http") {
                return Self { program, stderr, told, link: link.to_owned() };
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.program.0.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end. All that it told on stderr is in the output.
    pub fn end(mut self) -> Output {
        self.stderr.read_to_string(&mut self.told).unwrap();
        let mut stdout = Vec::new();
        self.program.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        let status = self.program.0.wait().unwrap();
        Output { status, stdout, stderr: self.told.into_bytes() }
    }

    /// Grants access, and gives what was told to the person.
    #[track_caller]
    pub fn grant(self, fixture: &Fixture, user: &str) -> String {
        assert!(fixture.cloud().grant_login(&self.link, user, user));
        let output = self.end();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The stored accounts.
pub fn files(fixture: &Fixture) -> Vec<PathBuf> {
    let directory = std::fs::read_dir(fixture.path(".config/ncfs/accounts"));
    let mut files: Vec<_> =
        directory.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What is stored of the only account.
#[track_caller]
pub fn stored(fixture: &Fixture) -> Value {
    let [file] = &files(fixture)[..] else { panic!("{:?}", files(fixture)) };
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[track_caller]
pub fn password(fixture: &Fixture) -> String {
    stored(fixture)["app_password"].as_str().unwrap().to_owned()
}

/// What the server answers to a password.
pub fn status_with(fixture: &Fixture, password: &str) -> u16 {
    let url = fixture.cloud().files_url(USER);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = reqwest::Client::new().head(url).basic_auth(USER, Some(password));
    runtime.block_on(request.send()).unwrap().status().as_u16()
}

/// Mounts what is stored; `target` is the name of an account or an address.
#[track_caller]
pub fn mount<'a>(fixture: &'a Fixture, target: &str) -> Mount<'a> {
    let output = try_mount(fixture, target);
    assert!(output.status.success(), "{output:?}\n{}", fixture.log());
    fixture.mounted()
}

pub fn try_mount(fixture: &Fixture, target: &str) -> Output {
    let storage = ["--state-dir", "state", "--cache-dir", "cache", "--poll-interval", "1s"];
    fixture.run(&[&["mount"], &storage[..], &[target, "mnt"]].concat())
}

/// This exit code, and a last sentence that holds these words.
#[track_caller]
pub fn assert_ends(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let sentence = text.lines().last().unwrap();
    assert!(sentence.starts_with("ncfs: "), "{text}");
    for word in words {
        assert!(sentence.contains(word), "{word} is missing: {text}");
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn a_login_is_stored_for_its_owner_alone_mounts_and_ends_with_its_logout() {
    let fixture = Fixture::new();
    fixture.cloud().set_quota(USER, Some(4 << 20));
    let told = Login::start(&fixture, &[]).grant(&fixture, USER);
    let url = fixture.cloud().url();
    for words in ["(Nextcloud 32.0.1) as alice", "0 B of 4.0 MiB used", "account  alice@127."] {
        assert!(told.contains(words), "{words} is missing: {told}");
    }
    let name = format!("{USER}@{}", url.strip_prefix("http://").unwrap());
    assert_eq!(mode(&files(&fixture)[0]), 0o600);
    assert_eq!(mode(&fixture.path(".config/ncfs/accounts")), 0o700);
    let device = fixture.cloud().app_passwords(USER).pop().unwrap();
    assert!(device.starts_with("ncfs/") && device.ends_with(')'), "{device}");

    for target in [&name, &url] {
        let mounted = mount(&fixture, target);
        std::fs::write(mounted.path("file"), target).unwrap();
        assert_eq!(mounted.status().account.as_ref(), Some(&name));
        let listed = fixture.run(&["accounts", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed[0]["mountpoints"][0], fixture.mountpoint().to_str().unwrap());
        // Nobody pulls the password from under a mount by mistake.
        assert_ends(&fixture.run(&["logout"]), 5, &[&name, "ncfs unmount"]);
        let let_in = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(fixture.path("run"), permissions).unwrap();
        };
        let_in(0o755);
        let words = [&name, "is mounted cannot be told", "chmod 700", "--force"];
        assert_ends(&fixture.run(&["logout"]), 2, &words);
        let_in(0o700);
        mounted.unmount();
        assert_eq!(fixture.download("/file").unwrap(), target.as_bytes());
    }

    let password = password(&fixture);
    assert_eq!(status_with(&fixture, &password), 200);
    let output = fixture.run(&["logout"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("revoked"), "{output:?}");
    assert_eq!(status_with(&fixture, &password), 401);
    assert!(files(&fixture).is_empty());
    let listed = fixture.run(&["accounts"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("not logged in"), "{listed:?}");
    assert_ends(&try_mount(&fixture, &url), 3, &["log in first: ncfs login http://127."]);
}

fn a_new_login_revokes_the_former_password_and_heals_what_is_mounted() {
    let fixture = Fixture::new();
    let url = fixture.cloud().url();
    Login::start(&fixture, &[]).grant(&fixture, USER);
    let first = password(&fixture);
    let mounted = mount(&fixture, &url);
    // As in the web interface under Settings, Security.
    assert!(fixture.cloud().revoke(&first));
    std::fs::write(mounted.path("file"), "kept").unwrap();
    eventually("the refused password is told of, with what to do", || {
        let advice = format!("log in again: ncfs login {url}");
        mounted.status().problems.iter().any(|problem| problem.what_to_do == advice)
    });
    Login::start(&fixture, &[]).grant(&fixture, USER);
    mounted.flush();
    assert_eq!(fixture.download("/file").unwrap(), b"kept");
    // The same while the former password still works.
    let second = password(&fixture);
    Login::start(&fixture, &[]).grant(&fixture, USER);
    assert_eq!(status_with(&fixture, &second), 401);
    assert_eq!(status_with(&fixture, &password(&fixture)), 200);
    std::fs::write(mounted.path("file"), "goes on").unwrap();
    mounted.unmount();
    assert_eq!(fixture.download("/file").unwrap(), b"goes on");
}

fn a_login_password_is_exchanged_for_an_app_password_and_an_app_password_is_kept() {
    let fixture = Fixture::new();
    let url = fixture.cloud().url();
    let login_with = |password: &str| {
        let mut command = fixture.ncfs();
        command.args(["login", "--user", USER, &url]).env("NCFS_PASSWORD", password);
        command.output().unwrap()
    };
    assert_ends(&login_with("wrong"), 3, &["refused", "check both"]);
    assert!(files(&fixture).is_empty());

    let output = login_with("login password");
    assert!(output.status.success(), "{output:?}");
    let made = password(&fixture);
    assert_ne!(made, "login password");
    mount(&fixture, &url).unmount();

    // One that the person made themselves stays theirs.
    let output = login_with(&fixture.password);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(password(&fixture), fixture.password);
    assert_eq!(status_with(&fixture, &made), 401);
    let output = fixture.run(&["logout"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("not revoked"), "{output:?}");
    assert_eq!(status_with(&fixture, &fixture.password), 200);
}

fn addresses_that_the_server_returns_without_the_port_are_put_on_the_one_given() {
    let fixture = Fixture::new();
    let url = fixture.cloud().url();
    fixture.cloud().announce(Some(url.rsplit_once(':').unwrap().0));
    let login = Login::start(&fixture, &[]);
    assert!(login.link.starts_with(&format!("{url}/login/v2/flow/")), "{}", login.link);
    // The person reaches it by a name of their own.
    fixture.cloud().announce(Some("https://cloud.example.com"));
    login.grant(&fixture, USER);
    assert_eq!(stored(&fixture)["server"], url);
    mount(&fixture, &url).unmount();
}

fn of_several_accounts_at_one_address_the_one_that_is_meant_has_to_be_named() {
    let fixture = Fixture::new();
    let url = fixture.cloud().url();
    fixture.cloud().add_user("bob", "bob's").unwrap();
    Login::start(&fixture, &[]).grant(&fixture, USER);
    Login::start(&fixture, &["--name", "work"]).grant(&fixture, "bob");
    assert_ends(&try_mount(&fixture, &url), 2, &["several accounts", "alice@127.", "work"]);
    assert_ends(&fixture.run(&["logout"]), 2, &["several accounts", "alice@127.", "work"]);
    // Another server on the same host is none of these.
    let words = ["no credentials for", "/other", "alice@127.", "work", "ncfs login"];
    assert_ends(&try_mount(&fixture, &format!("{url}/other")), 3, &words);
    assert_ends(&fixture.run(&["logout", &format!("{url}/other")]), 2, &["there is no account"]);
    let mounted = mount(&fixture, "work");
    assert_eq!(mounted.status().user, "bob");
    mounted.unmount();
    // A name is not taken from somebody else, and the password that was granted does not stay.
    let login = Login::start(&fixture, &["--name", "work"]);
    assert!(fixture.cloud().grant_login(&login.link, USER, USER));
    assert_ends(&login.end(), 2, &["the name work belongs to bob"]);
    let passwords = |user: &str| fixture.cloud().app_passwords(user).len();
    assert_eq!((passwords(USER), passwords("bob")), (2, 1), "alice has that of the fixture too");
}

fn without_the_server_a_logout_keeps_the_account_unless_it_is_forced() {
    let fixture = Fixture::new();
    Login::start(&fixture, &[]).grant(&fixture, USER);
    let password = password(&fixture);
    fixture.stop_server();
    assert_ends(&fixture.run(&["logout"]), 4, &["still logged in", "--force"]);
    assert_eq!(files(&fixture).len(), 1);
    let output = fixture.run(&["logout", "--force"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("still works"), "{output:?}");
    assert!(files(&fixture).is_empty());
    fixture.restart_server();
    assert_eq!(status_with(&fixture, &password), 200);
}
