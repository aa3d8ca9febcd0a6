//! A person answers the login in Chromium, driven by `tests/browser/grant.js`.

use std::path::Path;
use std::process::Command;

use super::{Login, assert_ends, files, mount, password, status_with};
use crate::harness::{Fixture, USER, as_root, succeed};

/// Answers the grant page in the browser. The screenshots stay in the target directory.
#[track_caller]
fn answer(fixture: &Fixture, link: &str, answer: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/grant.js");
    let driver = script.with_file_name("node_modules");
    assert!(driver.exists(), "playwright-core is missing: make test installs it");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("login");
    std::fs::create_dir_all(&pictures).unwrap();
    let picture = pictures.join(format!("{answer}.png"));
    let _ = std::fs::remove_file(&picture);
    let mut browser = Command::new("node");
    browser.arg(script).args([link, USER]).arg(&picture).arg(answer);
    succeed(browser.env("PASSWORD", "login password").current_dir(fixture.path("")));
    assert!(picture.metadata().unwrap().len() > 1000, "an empty screenshot");
}

#[test]
fn a_login_granted_in_a_real_browser_mounts_and_ends_with_its_logout() {
    as_root(|| {
        let fixture = Fixture::new();
        let login = Login::start(&fixture, &[]);
        answer(&fixture, &login.link, "grant");
        let output = login.end();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("as alice"), "{output:?}");

        let mounted = mount(&fixture, &fixture.cloud().url());
        std::fs::write(mounted.path("file"), "from a browser's login").unwrap();
        mounted.unmount();
        assert_eq!(fixture.download("/file").unwrap(), b"from a browser's login");

        let password = password(&fixture);
        assert!(fixture.run(&["logout"]).status.success());
        assert_eq!(status_with(&fixture, &password), 401);
    });
}

#[test]
fn a_login_denied_in_a_real_browser_stores_nothing() {
    as_root(|| {
        let fixture = Fixture::new();
        let login = Login::start(&fixture, &[]);
        answer(&fixture, &login.link, "deny");
        assert_ends(&login.end(), 3, &["denied"]);
        assert!(files(&fixture).is_empty());
    });
}
